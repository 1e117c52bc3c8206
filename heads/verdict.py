"""The answer in words: which backbone gives the most separable feature map, by how much, tied with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heads.agreement import MEASURES, Agreement, agreement
from heads.ranking import Difference, Leaderboard, Row
from heads.runs import Run

# What people call them.
NAMES = {
    "linear_probe": "linear probe",
    "knn_accuracy": "5 nearest neighbours",
    "centroid_accuracy": "nearest class centroid",
    "logme": "LogME",
    "h_score": "H-score",
    "fisher_ratio": "Fisher ratio",
    "silhouette": "silhouette",
    "effective_rank": "effective rank",
}
METRICS = {"top1": "top-1", "top3": "top-3"}


def verdict(board: Leaderboard, runs: Mapping[str, Run]) -> list[str]:
    """Sentences about the leaderboard's feature maps, the most important first; `runs` by name. Empty without any.

    What two runs differ by counts where the 95% interval of their difference does not hold 0; else they are tied.
    """
    rows = board.feature_maps
    if not rows:
        return []
    several = len(rows) > 1
    said = [_by_heads(board, rows, runs), _by_probe(board, rows), _by_latency(board, rows, runs)]
    return [line for line in [*said, _trust(rows) if several else ""] if line]


def agreements(rows: Sequence[Row]) -> list[Agreement]:
    """How well each measure orders these feature maps as their heads' val top-1 does, the best first."""
    accuracies = [row.val_top1 for row in rows]
    found = [agreement(name, [getattr(row, name) for row in rows], accuracies) for name in MEASURES]
    return sorted((a for a in found if a is not None), key=lambda a: -a.tau)


def _tied(board: Leaderboard, rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """The rows behind the first that none of the metrics tells from it."""
    return [r for r in rows if all(board.behind[r.run][m].tied for m in metrics if m in board.behind[r.run])]


def _by_heads(board: Leaderboard, rows: Sequence[Row], runs: Mapping[str, Run]) -> str:
    best, rest = rows[0], rows[1:]
    n = runs[best.run].summary["val"]["top1"]["n"]
    line = (
        f"{_name(best, rows)} gives the most separable feature map of {len(rows)}: its heads get {best.val_top1:.3f} "
        f"[{best.val_top1_low:.3f}, {best.val_top1_high:.3f}] of {n} validation images right (top-3 "
        f"{best.val_top3:.3f})"
        if rest
        else f"{best.backbone} is the only feature map here: its heads get {best.val_top1:.3f} "
        f"[{best.val_top1_low:.3f}, {best.val_top1_high:.3f}] of {n} validation images right"
    )
    tied = _tied(board, rest, ("top1", "top3"))
    apart = [row for row in rest if row not in tied]
    if tied:
        line += f", tied with {_names(tied, rows)}"
    if apart:
        metric = "top3" if not board.behind[apart[0].run]["top3"].tied else "top1"
        line += (
            f"; ahead of {_name(apart[0], rows)} by {_said(board.behind[apart[0].run][metric])} in {METRICS[metric]}"
        )
    elif rest:
        line += ": so many images cannot tell any of them apart" if len(tied) > 1 else ""
    return line + "."


def _by_probe(board: Leaderboard, rows: Sequence[Row]) -> str:
    probed = sorted((r for r in rows if r.linear_probe is not None), key=lambda r: -(r.linear_probe or 0))
    if not probed:
        return ""
    best, rest = probed[0], probed[1:]
    also = "also " if best is rows[0] and rest else ""
    line = f"Without any head, a linear probe of the training images {also}puts {_name(best, rows)} first"
    line = f"{line} ({best.linear_probe:.3f} right, cross-validated)"
    tied = _tied(board, rest, ("linear_probe",))
    apart = [row for row in rest if row not in tied]
    if tied:
        line += f", tied with {_names(tied, rows)}"
    if apart:
        line += f"; ahead of {_name(apart[0], rows)} by {_said(board.behind[apart[0].run]['linear_probe'])}"
    return (line if rest else line.replace(f"puts {_name(best, rows)} first", "gets")) + "."


def _by_latency(board: Leaderboard, rows: Sequence[Row], runs: Mapping[str, Run]) -> str:
    best = rows[0]
    performance = runs[best.run].performance
    line = f"{_name(best, rows)} takes {best.latency_ms:.1f} ms a pass on {performance['device']} (batch "
    line += f"{performance['latency_ms']['batch_size']}, {performance['precision']})"
    fastest = min([best, *_tied(board, rows[1:], ("top1", "top3"))], key=lambda r: r.latency_ms)
    if fastest is not best:
        line += f"; the fastest that is tied with it, {_name(fastest, rows)}, takes {fastest.latency_ms:.1f} ms"
    return line + "."


def _trust(rows: Sequence[Row]) -> str:
    found = agreements(rows)
    if not found:
        return f"Which measure to trust without heads cannot be said from {len(rows)} feature maps."
    best = found[0]
    line = (
        f"Of the measures without heads, {NAMES[best.measure]} orders these {best.n} feature maps most like their "
        f"heads do: Kendall's tau {best.tau:.2f} [{best.low:.2f}, {best.high:.2f}]"
    )
    return line + (", which may be luck." if best.low <= 0 else ".")


def _said(difference: Difference) -> str:
    return f"{difference.mean:.3f} [{difference.low:.3f}, {difference.high:.3f}]"


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The backbone, and its weights where several stand here."""
    return f"{row.backbone} ({row.weights})" if sum(r.backbone == row.backbone for r in rows) > 1 else row.backbone


def _names(chosen: Sequence[Row], rows: Sequence[Row]) -> str:
    names = [_name(row, rows) for row in chosen]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
