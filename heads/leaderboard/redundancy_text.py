"""What feature maps have in common, in words: redundant ones, pairs worth joining, errors that all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.audit import find_audit
from featcache.counted_nouns import are, counted
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.control_text import listed, names_of
from heads.leaderboard.ranked_results import RankedResults
from heads.redundancy import REDUNDANT, BackboneComparison, CommonErrors, ConfusedClasses, PairedErrors

NAMED = 3  # files and classes that a sentence names, at most


def redundancy_text(ranked: RankedResults) -> list[str]:
    """Sentences for the end of the verdict: the best join where one is suggested, and errors that all backbones share
    beyond chance. Empty where there is nothing to say."""
    comparison = ranked.comparison
    join = [suggested_join(ranked, comparison.joins[0])] if comparison.joins else []
    return join + common_errors_text(ranked)


def redundant_text(board: Leaderboard, comparison: BackboneComparison) -> str:
    """Which feature maps say nearly the same; "" where none were compared."""
    alignment = comparison.alignment
    if alignment is None:
        return ""
    groups = [_names(board, group) for group in alignment.redundant()]
    on = f"on {counted(alignment.images, 'training image')}"
    if not groups:
        return (
            f"No two of {len(alignment.runs)} feature maps are redundant: every linear CKA is below {REDUNDANT} {on}."
        )
    return f"Redundant, with a linear CKA of {REDUNDANT} or more {on}: {'; '.join(groups)}."


def joins_text(ranked: RankedResults) -> str:
    """Whether any pair is worth joining; "" where no pair was looked at."""
    pairs, joins = ranked.comparison.pairs, ranked.comparison.joins
    if not pairs:
        return ""
    if joins:
        return " ".join(suggested_join(ranked, join) for join in joins[:NAMED])
    n = ranked.first.summary["val"]["top1"]["n"]
    gain = sum(pair.beyond_chance for pair in pairs)
    why = f"none of {len(pairs)} gains beyond chance on {counted(n, 'image')}"
    if gain:
        why = f"{gain} of {len(pairs)} gain beyond chance, but with features that are alike, unknown, or no better"
    return f"No pair is shown to complement each other: {why}."


def suggested_join(ranked: RankedResults, pair: PairedErrors) -> str:
    """A pair that is worth joining, why, and how that is done."""
    one, other = (_row(ranked.board, name) for name in (pair.one, pair.other))
    cka = ranked.comparison.cka(pair)
    names = _names(ranked.board, (pair.one, pair.other))
    line = (
        f"{names} complement each other (linear CKA {cka:.2f}): averaged, their heads get {pair.together:.3f} of "
        f"the validation images right, {pair.gain:+z.3f} [{pair.low:+z.3f}, {pair.high:+z.3f}] over two seeds of the "
        f"better one ({said_chance(pair.p)} among {counted(len(ranked.comparison.pairs), 'pair')})"
    )
    stores = {*ranked.board.stores[pair.one], *ranked.board.stores[pair.other]}
    joined = next((row for row in ranked.board.rows if set(ranked.board.stores[row.run]) == stores), None)
    if joined is not None:
        return f"{line}; joined they are here as {joined.run}, {joined.val_top1:.3f}."
    return f"{line}. To join them: featcache train with model.backbone={one.backbone}+{other.backbone}."


def common_errors_text(ranked: RankedResults) -> list[str]:
    """What every backbone gets wrong beyond chance, and classes for which the choice of the backbone matters."""
    common = ranked.comparison.common
    if common is None:
        return []
    classes: list[str] = ranked.first.summary["classes"]
    return [line for line in (_by_every(ranked, common, classes), _by_some(ranked.board, common, classes)) if line]


def _by_every(ranked: RankedResults, common: CommonErrors, classes: Sequence[str]) -> str:
    if not common.shared.beyond_chance:
        return ""
    count, k = common.shared.found, len(common.runs)
    line = (
        f"{count} of {counted(common.n, 'validation image')} {are(count)} wrong in each of {k} feature maps, "
        f"where independent errors would share {common.shared.expected:.1f} ({said_chance(common.shared.p)})"
    )
    confused = [one for one in common.confused if one.by_every]
    if confused:
        line += f", most between {listed([_pair(one, classes) for one in confused[:NAMED]])}"
    line += ": a matter of these labels or images rather than of the backbone"
    suspects = _suspects(ranked)
    flagged = [one.image for one in common.images if one.is_in(suspects)]
    if flagged:
        line += f"; the audit flags {len(flagged)} of them, such as {flagged[0]}"
    elif count <= NAMED:
        line += f" ({listed([one.image for one in common.images])})"
    return f"{line}."


def _suspects(ranked: RankedResults) -> frozenset[str]:
    """Names and content hashes of files whose labels an audit flagged; none where there is no audit."""
    found = find_audit(ranked.results_dir, str(ranked.first.summary["data"]["fingerprint"]))
    return found.suspected if found is not None else frozenset()


def _by_some(board: Leaderboard, common: CommonErrors, classes: Sequence[str]) -> str:
    said = []
    for one in [one for one in common.confused if one.by_some][:NAMED]:
        counts = min(one.counts), max(one.counts)
        best, worst = (_names(board, (common.runs[one.counts.index(count)],)) for count in counts)
        said.append(f"{_pair(one, classes)} ({best} confuses {counts[0]} of {one.n}, {worst} {counts[1]})")
    return f"Which backbone is chosen matters for {listed(said)}." if said else ""


def _pair(one: ConfusedClasses, classes: Sequence[str]) -> str:
    first, second = (classes[place] for place in one.classes)
    return f"{first} and {second}"


def _names(board: Leaderboard, runs: Sequence[str]) -> str:
    return names_of([_row(board, run) for run in runs], board.feature_maps)


def _row(board: Leaderboard, run: str) -> Row:
    return next(row for row in board.rows if row.run == run)


def said_chance(p: float) -> str:
    """A probability as a sentence says it."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"
