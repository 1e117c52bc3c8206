"""What the answer owes to chance, in words: the winner corrected, what may be the best, what would settle it."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.statistics import Corrected
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.control_text import listed, name_of
from heads.training import find_metric

NAMED = 12  # backbones that a sentence names, at most


def chance_text(board: Leaderboard, rows: Sequence[Row]) -> list[str]:
    """Sentences about the first of the feature maps `rows`, best first; those that have nothing to say are left out."""
    every = (corrected_text(board), best_set_text(rows), images_text(board, rows), mixed_heads_text(board))
    return [line for line in every if line]


def corrected_text(board: Leaderboard) -> str:
    """The winner's figure on val as found, and corrected for having been chosen."""
    top1 = board.best.get("top1")
    if top1 is None:
        return ""
    among = chosen_among(top1, "runs")
    if not among:
        return ""
    return (
        f"On validation, where it was chosen, it gets {top1.found:.3f} as found; corrected for having been chosen "
        f"among {among}, {top1.mean:.3f} [{top1.low:.3f}, {top1.high:.3f}]."
    )


def chosen_among(corrected: Corrected, what: str) -> str:
    """What the best was chosen among: runs, their recipes and epochs, as far as these are known; "" where there was
    nothing to choose."""
    recipes, each = sum(r for r, _ in corrected.choices), {e for _, e in corrected.choices}
    epochs = f"{max(each)} epochs" if max(each) > 1 else ""
    if corrected.among == recipes == 1:
        return epochs
    of_each = f" of {epochs} each" if len(each) == 1 else f" of up to {epochs} each"
    runs = f"{corrected.among} {what}" if corrected.among > 1 else ""
    tried = f"{recipes} recipes" if recipes > corrected.among else ""
    return " with ".join(part for part in (runs, tried) if part) + (of_each if epochs else "")


def best_set_text(rows: Sequence[Row]) -> str:
    """Which feature maps may be the best."""
    if len(rows) < 2:
        return ""
    may = [row for row in rows if row.may_be_best]
    if len(may) == len(rows):
        return f"At 95%, any of the {len(rows)} may be the best."
    if len(may) == 1:
        return f"At 95%, {name_of(may[0], rows)} is the best of them."
    names = [name_of(row, rows) for row in may[:NAMED]]
    names += [f"{len(may) - NAMED} more"] if len(may) > NAMED else []
    return f"At 95%, the best is among these {len(may)}: {listed(names)}."


def images_text(board: Leaderboard, rows: Sequence[Row]) -> str:
    """How many more images would tell the best from the next that it is not told from."""
    rival = board.rival
    if rival is None:
        return ""
    other = next((row for row in board.rows if row.run == rival.run), None)
    if other is None:
        return ""
    pair = listed([name_of(rows[0], rows), name_of(other, rows)])
    title = find_metric(rival.metric).title
    if rival.images:
        more = rounded(rival.images)
        what = "groups of validation images" if rival.grouped else "validation images"
        return (
            f"To tell {pair} apart, {abs(rival.behind):.3f} from each other in {title}, about {more:,} more {what} "
            "would be needed."
        )
    if rival.seeds_differ:
        return (
            f"More validation images alone would not tell {pair} apart in {title}, since their seeds differ too much; "
            "more seeds might (training.seeds)."
        )
    return f"No number of validation images is in sight that would tell {pair} apart in {title}."


def mixed_heads_text(board: Leaderboard) -> str:
    """A word of caution where tuned heads stand beside uniform ones: what holds jointly does not pay for recipes."""
    if len({row.head for row in board.rows if row.phase == 1}) < 2:
        return ""
    return (
        "Tuned and uniform heads stand on one board: a lead of a tuned head over another feature map's uniform one has "
        "the luck of its recipes in it. --heads tuned or --heads uniform compares like with like."
    )


def rounded(images: int) -> int:
    """To one digit, or to two where it begins with 1: it is no more exact than the difference that was seen."""
    digits = len(str(images)) - (2 if str(images).startswith("1") else 1)
    unit = int(10 ** max(0, digits))
    return -(-images // unit) * unit
