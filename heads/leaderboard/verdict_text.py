"""The answer in words: which backbone gives the most separable feature map, by how much, tied with which."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from featcache.counted_nouns import counted
from featcache.separability import measures
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.chance_text import chance_text
from heads.leaderboard.columns import Row
from heads.leaderboard.compared_run import Difference
from heads.leaderboard.constant_answer import constant_text, says_nothing
from heads.leaderboard.control_text import controls_text, listed, name_of, names_of
from heads.leaderboard.leaked_text import leaked_text
from heads.leaderboard.measure_agreement import Agreement, agreement
from heads.leaderboard.ranked_results import RankedResults
from heads.leaderboard.redundancy_text import redundancy_text
from heads.runs import Run
from heads.training import find_metric


def verdict(ranked: RankedResults) -> list[str]:
    """Sentences about the leaderboard's feature maps, the most important first. Empty without any.

    What two runs differ by counts where the interval of their difference, which holds jointly for all of them at 95%,
    does not hold 0; else they are tied. The accuracy that is quoted is that on test, which had no part in any choice. A
    control group on random weights is no part of the ranking: what it shows is said after it.
    """
    board, runs = ranked.board, ranked.runs
    rows = board.candidates
    if not rows:
        return []
    several = len(rows) > 1
    best = runs[rows[0].run]
    said = [_by_heads(board, rows, runs), *leaked_text(best.summary), constant_text(best, board.order[-1], board.best)]
    said += chance_text(board, rows)
    said += [*controls_text(board), _by_probe(board, rows)]
    said += [_by_latency(board, rows, runs), *redundancy_text(ranked)]
    return [line for line in [*said, _trust(board.feature_maps, board.order) if several else ""] if line]


def agreements(rows: Sequence[Row]) -> list[Agreement]:
    """How well each measure orders these feature maps as their heads' val top-1 does, the best first."""
    accuracies = [row.val_top1 for row in rows]
    found = [agreement(name, [row.more.get(name) for row in rows], accuracies) for name in measures()]
    return sorted((a for a in found if a is not None), key=lambda a: -a.tau)


def _by_heads(board: Leaderboard, rows: Sequence[Row], runs: Mapping[str, Run]) -> str:
    best, rest = rows[0], rows[1:]
    right = f"its heads get {_quoted(runs[best.run])} images right (top-3 {best.test_top3:.3f}"
    right += f"{_in_the_metric(board, runs[best.run])})"
    kind = "pretrained feature map" if board.controls else "feature map"
    if not rest:
        return f"{best.backbone} is the only {kind} here: {right}."
    among = f"{len(rows)} pretrained ones" if board.controls else f"{len(rows)}"
    line = f"{name_of(best, rows)} gives the most separable feature map of {among}: {right}"
    tied = _tied(board, rest)
    if tied:
        line += f", tied with {names_of(tied, rows)}"
    if len(tied) == len(rest):
        them = "the other" if len(rest) == 1 else "any of them"
        return f"{line}; {board.judged} cannot tell {them} from it."
    return line + _lead(board, rest, rows) + "."


def _in_the_metric(board: Leaderboard, run: Run) -> str:
    """What it gets on test in the metric that it is ranked by, where that is another than top-1 and top-3."""
    by = board.order[-1]
    if by in ("top1", "top3"):
        return ""
    figure = run.summary["test"].get(by)  # a metric of a package may not have been there when the run was made
    if figure is None or not math.isfinite(figure["mean"]) or says_nothing(run.summary, "test", by):
        return ""
    low, high = figure["ci95"]
    return f", {find_metric(by).title} {figure['mean']:z.3f} [{low:z.3f}, {high:z.3f}]"


def _quoted(run: Run) -> str:
    """Top-1 on test with its interval, and of how many images."""
    top1 = run.summary["test"]["top1"]
    low, high = top1["ci95"]
    return f"{top1['mean']:.3f} [{low:.3f}, {high:.3f}] of {top1['n']} test"


def _lead(board: Leaderboard, rest: Sequence[Row], rows: Sequence[Row]) -> str:
    """By how much the best is ahead of the first that it is ahead of; "" where it is ahead of none."""
    without = [row for row in rest if math.isinf(board.behind[row.run][board.order[-1]].mean)]
    for row in [row for row in rest if row not in without]:
        behind = board.behind[row.run]
        metric = next((m for m in board.order if behind[m].low > 0), None)
        if metric is not None:
            line = f"; ahead of {name_of(row, rows)} by {_said(behind[metric])} in {find_metric(metric).title}"
            top1 = behind["top1"]
            if top1.high < 0:
                line += f", though behind it by {-top1.mean:z.3f} [{-top1.high:z.3f}, {-top1.low:z.3f}] in top-1"
            return line
    if without:
        return f"; ahead of {names_of(without, rows)}, whose {find_metric(board.order[-1]).title} is not finite"
    return ""


def _tied(board: Leaderboard, rest: Sequence[Row]) -> list[Row]:
    """The rows that no metric of the ranking tells from the first."""
    return [row for row in rest if all(board.behind[row.run][metric].tied for metric in board.order)]


def _by_probe(board: Leaderboard, rows: Sequence[Row]) -> str:
    """What a linear probe says, of the feature maps whose probe can be compared image by image."""
    behind = {row.run: board.behind[row.run]["linear_probe"] for row in rows if "linear_probe" in board.behind[row.run]}
    probed = sorted((row for row in rows if row.run in behind), key=lambda r: -(r.more["linear_probe"] or 0))
    if not probed:
        return ""
    best, rest = probed[0], probed[1:]
    if not rest:
        name, right = name_of(best, rows), best.more["linear_probe"]
        return f"Without any head, a linear probe gets {right:.3f} of {name}'s training images right, cross-validated."
    right = best.more["linear_probe"] or 0
    tied = [row for row in rest if behind[row.run].tied]
    line = "Without any head, a linear probe of the training images "
    if not right:
        return f"{line}gets none of them right, whatever the feature map."
    if len(tied) == len(rest):
        line += f"tells none of {len(probed)} from its best, {name_of(best, rows)}"
    else:
        line += f"{'also ' if best is rows[0] else ''}puts {name_of(best, rows)} first"
    line += f" ({right:.3f} right, cross-validated)"
    if tied:
        line += f", tied with {names_of(tied, rows)}"
    ahead = next((row for row in rest if behind[row.run].low > 0), None)
    if ahead is not None:
        line += f"; ahead of {name_of(ahead, rows)} by {_said(behind[ahead.run])}"
    lost = [row for row in rows if row.more.get("linear_probe") is not None and row.run not in behind]
    if lost:
        line += f"; {names_of(lost, rows)} cannot be compared image by image"
    return line + "."


def _by_latency(board: Leaderboard, rows: Sequence[Row], runs: Mapping[str, Run]) -> str:
    best = rows[0]
    line = f"{name_of(best, rows)} takes {best.latency_ms:.1f} ms a pass on {_conditions(runs[best.run])}"
    comparable = [r for r in _tied(board, rows[1:]) if _conditions(runs[r.run]) == _conditions(runs[best.run])]
    fastest = min([best, *comparable], key=lambda r: r.latency_ms)
    if fastest is not best:
        line += f"; the fastest that is tied with it, {name_of(fastest, rows)}, takes {fastest.latency_ms:.1f} ms"
    return line + "."


def _conditions(run: Run) -> str:
    """What latencies were measured under: they only compare under the same."""
    performance = run.performance
    return f"{performance['device']} (batch {performance['latency_ms']['batch_size']}, {performance['precision']})"


def _trust(rows: Sequence[Row], order: Sequence[str]) -> str:
    known = measures()
    found = [a for a in agreements(rows) if known[a.measure].judges]
    if not found:
        return f"Which measure to trust without heads cannot be said from {counted(len(rows), 'feature map')}."
    best = found[0]
    here = ", controls included," if any(row.control for row in rows) else ""
    by = "" if order[-1] == "top1" else " in val top-1"  # which it is whatever the board is by
    alike = [known[a.measure].title for a in found if math.isclose(a.tau, best.tau)]
    line = (
        f"Of the measures without heads, {listed(alike)} {'orders' if len(alike) == 1 else 'order'} these {best.n} "
        f"feature maps{here} most like their heads do{by}: Kendall's tau {best.tau:z.2f} "
        f"[{best.low:z.2f}, {best.high:z.2f}]"
    )
    # It is the best of several, each of which could have been by luck (Bonferroni).
    lucky = best.tau <= 0 or best.p * len(found) > 0.05
    return line + (f", which may be luck among {len(found)}." if lucky else ".")


def _said(difference: Difference) -> str:
    return f"{difference.mean:z.3f} [{difference.low:z.3f}, {difference.high:z.3f}]"
