"""What the answer owes to chance, in words: the winner corrected, what may be the best, what would settle it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from featcache.counted_nouns import are, nouns
from featcache.statistics import Corrected
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.chosen_among import chosen_among
from heads.leaderboard.chosen_best import MOST, Correction
from heads.leaderboard.columns import Row
from heads.leaderboard.control_text import listed, name_of, names_of, shortened
from heads.training import find_metric

FEW = 3  # runs that a sentence names, at most


def chance_text(board: Leaderboard, rows: Sequence[Row]) -> list[str]:
    """Sentences about the first of the feature maps `rows`, best first; those that have nothing to say are left out."""
    said = (best_set_text(rows), images_text(board, rows), one_seed_text(board, rows), mixed_heads_text(board))
    every = (*corrected_text(board), *said)
    return [line for line in every if line]


def corrected_text(board: Leaderboard) -> list[str]:
    """The winner's figure on val as found and corrected for having been chosen, in the metric that it was chosen by and
    in top-1; and for which choices it could not be."""
    known = board.correction
    if known.reason:
        line = f"What being chosen added to the first one's figure on validation cannot be said: {known.reason}."
        return [line, *_unseen(known)]
    top1 = known.figures.get("top1")
    if top1 is None:
        return []
    among = chosen_among(top1, _runs_of(known))
    lines = [_corrected_figures(known, among)] if among else []
    if among and known.matched > MOST:
        lines.append(
            f"Beyond the {MOST} best of these runs none is chosen among again: it would hardly ever be chosen."
        )
    return [*lines, *_unseen(known), *_lacking(known)]


def _corrected_figures(known: Correction, among: str) -> str:
    top1, own = known.figures["top1"], known.figures[known.by]
    if known.by == "top1":
        begin, of_top1 = "On validation, where it was chosen, it gets", _as_found("top1", top1)
        return f"{begin} {of_top1}; corrected for having been chosen among {among}, {_limits('top1', top1)}."
    title = find_metric(known.by).title
    line = f"On validation, where it was chosen by {title}, it gets {_as_found(known.by, own)}"
    if known.epochs_by:
        line += f"; corrected for having been chosen among {among}, {_limits(known.by, own)}"
        return f"{line}. That is {_as_found('top1', top1)}, and {_limits('top1', top1)} corrected."
    tried = "recipes and epochs" if max(recipes for recipes, _ in own.choices) > 1 else "epochs"
    unknown = f"not for its {tried}: of others than those kept {title} is not known"
    if own.among > 1:
        runs = chosen_among(replace(own, choices=((1, 1),) * own.among), _runs_of(known))
        line += f"; corrected for having been chosen among {runs}, {_limits(known.by, own)} ({unknown})"
    else:
        line += f", and cannot be corrected ({unknown})"
    return f"{line}. That is {_as_found('top1', top1)}; corrected for {among}, {_limits('top1', top1)}."


def _as_found(metric: str, one: Corrected) -> str:
    return f"{_sign(metric) * one.found:z.3f} {find_metric(metric).title} as found"


def _limits(metric: str, one: Corrected) -> str:
    low, high = sorted(_sign(metric) * end for end in (one.low, one.high))
    return f"{_sign(metric) * one.mean:z.3f} [{low:z.3f}, {high:z.3f}]"


def _sign(metric: str) -> int:
    """Figures are kept larger better."""
    return 1 if find_metric(metric).larger_is_better else -1


def _runs_of(known: Correction) -> str:
    """Which runs the first was chosen among again: all, or those that are a match for it."""
    best = "best " if known.matched > MOST else ""
    lost = known.figures[known.by].among < min(known.matched, MOST)  # some whose answers are not known
    if known.matched == known.runs:
        return f"{best}of {known.runs} runs" if best else f"of the {known.runs} runs" if lost else "runs"
    of = f"{best}of the {known.matched} " if best or lost else ""
    return f"{of}of {known.runs} runs that {find_metric(known.told_by).title} does not tell from it"


def _unseen(known: Correction) -> list[str]:
    """Which runs are compared without what they answered; the first, which `reason` is about, aside."""
    names = [name for name in known.unseen if name != known.first]
    if not names:
        return []
    one = len(names) == 1
    return [
        f"{listed(shortened(names, FEW))} {are(len(names))} compared as if {'it' if one else 'they'} had answered "
        f"other images, and not chosen among again, since {'its' if one else 'their'} predictions.npz is "
        f"{_states(known.unseen[name] for name in names)}."
    ]


def _lacking(known: Correction) -> list[str]:
    """Of which runs epochs and recipes were not chosen again."""
    if not known.lacking:
        return []
    if known.alone:
        line = f"The epochs and recipes of the first one ({known.first}) were not chosen again, since its "
        line += f"val_outcomes.npz is {known.lacking[known.first]}"
        return [line + (", and so neither were those of the others." if known.matched > 1 else ".")]
    one = len(known.lacking) == 1
    return [
        f"The epochs and recipes of {listed(shortened(list(known.lacking), FEW))} were not chosen again, since "
        f"{'its' if one else 'their'} val_outcomes.npz is {_states(known.lacking.values())}: in this choice "
        f"{'it stands with the figures that it was' if one else 'they stand with the figures that they were'} found "
        "with."
    ]


def _states(of: Iterable[str]) -> str:
    """What files are, each state once: "missing or damaged"."""
    return " or ".join(dict.fromkeys(of))


def best_set_text(rows: Sequence[Row]) -> str:
    """Which feature maps may be the best."""
    if len(rows) < 2:
        return ""
    may = [row for row in rows if row.may_be_best]
    if len(may) == len(rows):
        return f"At 95%, {'either of the two' if len(rows) == 2 else f'any of the {len(rows)}'} may be the best."
    if len(may) == 1:
        return f"At 95%, {name_of(may[0], rows)} is the best of them."
    return f"At 95%, the best is among these {len(may)}: {names_of(may, rows)}."


def images_text(board: Leaderboard, rows: Sequence[Row]) -> str:
    """How many more images would tell the best from the next that it is not told from."""
    rival = board.rival
    if rival is None:
        return ""
    other = next((row for row in board.rows if row.run == rival.run), None)
    if other is None:
        return ""
    if board.judged.units < 2:
        what = (
            f"All {board.judged.images} validation images are one group"
            if board.judged.grouped
            else ("There is a single validation image")
        )
        return f"{what}: nothing can be said of other {'groups' if board.judged.grouped else 'images'} by that."
    pair = listed([name_of(rows[0], rows), name_of(other, rows)])
    title = find_metric(rival.metric).title
    if rival.images:
        more = rounded(rival.images)
        grouped = board.judged.grouped
        what = f"{nouns(more, 'group')} of validation images" if grouped else nouns(more, "validation image")
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


def one_seed_text(board: Leaderboard, rows: Sequence[Row]) -> str:
    """What is not known where no run has a second seed."""
    if len(rows) < 2 or board.judged.seeds != 1:
        return ""
    return (
        "Every run has one seed: leads, ties and the figures of the first one, the corrected ones too, are of these "
        "heads alone; what of them is the luck of a seed is not known, and not taken off (training.seeds)."
    )


def mixed_heads_text(board: Leaderboard) -> str:
    """A word of caution where tuned heads stand beside uniform ones: what holds jointly does not pay for recipes."""
    if not mixed_heads(board):
        return ""
    return (
        "Tuned and uniform heads stand on one board: a lead of a tuned head over another feature map's uniform one has "
        "the luck of its recipes in it. --heads tuned or --heads uniform compares like with like."
    )


def mixed_heads(board: Leaderboard) -> bool:
    """Whether tuned heads stand beside uniform ones, students aside."""
    return len({row.head for row in board.rows if row.phase == 1 and not row.teacher}) > 1


def tie_text(board: Leaderboard) -> str:
    """What a tie is, for a footnote: what holds for all comparisons together pays for no recipes that were tried."""
    line = "on val not told from the first of that rank, at 95% for all comparisons together"
    return f"{line}, the leads of tuned heads over uniform ones aside" if mixed_heads(board) else line


def rounded(images: int) -> int:
    """To one digit, or to two where it begins with 1: it is no more exact than the difference that was seen."""
    digits = len(str(images)) - (2 if str(images).startswith("1") else 1)
    unit = int(10 ** max(0, digits))
    return -(-images // unit) * unit
