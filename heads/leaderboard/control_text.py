"""What the control group shows, in words: how much pretraining buys, and whether these images need it."""

from __future__ import annotations

from collections.abc import Sequence

from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.control_group import partly_random

NAMED = 12  # feature maps that a sentence names, at most


def controls_text(board: Leaderboard) -> list[str]:
    """Sentences about the runs on random weights beside the pretrained ones; none where there are none.

    Points are hundredths of val top-1: 0.05 is 5 points. Intervals are 95%.
    """
    rows, controls = board.candidates, board.controls
    if not rows or not controls:
        return []
    return [line for line in (_bought(board, rows), _best_control(board, rows[0], controls)) if line]


def stand_ins_text(board: Leaderboard) -> str:
    """Where those stand that got random weights instead of pretrained ones, as half a sentence."""
    partly = [
        row.backbone
        for row in board.rows
        if row.backbone in board.fell_back and not row.control and partly_random(row.weights)
    ]
    joined = list(dict.fromkeys(partly))
    alone = [name for name in board.fell_back if name not in joined]
    controls = any(row.control for row in board.rows)
    if not joined:
        many = len(board.fell_back) > 1
        stand = "they stand in the control group" if many else "it stands in the control group"
        return stand if controls else "this ranking says nothing about the pretrained networks"
    line = f"{listed(shortened(joined))} rank{'s' if len(joined) == 1 else ''} among pretrained ones, which "
    line += f"{'it is' if len(joined) == 1 else 'they are'} joined with"
    return f"{line}; the control group has {listed(shortened(alone))}" if alone and controls else line


def _bought(board: Leaderboard, rows: Sequence[Row]) -> str:
    """What pretraining buys each backbone that stands here with random weights too: of each feature map the first run
    that has a control with the same kind of head."""
    known: dict[tuple[str, ...], Row] = {}
    for row in board.rows:
        if row.phase == 1 and row.pretraining_top1 is not None:
            known.setdefault(board.stores[row.run], row)
    said = [
        f"{_points(row.pretraining_top1, row.pretraining_top1_low, row.pretraining_top1_high)} for {name_of(row, rows)}"
        for row in sorted(known.values(), key=lambda r: -(r.pretraining_top1 or 0))
    ]
    if not said:
        return ""
    return f"Pretraining buys {listed(shortened(said))} in val top-1, over the same networks with random weights."


def _best_control(board: Leaderboard, best: Row, controls: Sequence[Row]) -> str:
    first = controls[0]
    behind = board.behind[first.run]["top1"]
    line = "The control with random weights" if len(controls) == 1 else f"The best of {len(controls)} controls with "
    line += f"{', ' if len(controls) == 1 else 'random weights, '}{first.backbone}, gets {first.val_top1:.3f}"
    other = board.order[-1] != "top1"  # else the whole board is by top-1
    line += " top-1" if other else ""
    if first.backbone == best.backbone and behind.mean == best.pretraining_top1:
        return f"{line}."  # its own twin: said before
    line += ": "
    figure = _points(behind.mean, behind.low, behind.high)
    by = " in top-1" if other else ""
    if behind.low > 0:
        return f"{line}{figure} behind {best.backbone}{by}."
    if behind.high < 0:
        ahead = _points(-behind.mean, -behind.high, -behind.low)
        return f"{line}{ahead} ahead of {best.backbone}{by}: for these images these pretrained features are no help."
    line += f"not told from {best.backbone}{by} ({figure} behind): "
    if behind.seeds_hide:
        return f"{line}their seeds differ too much to tell whether these images need pretraining (training.seeds)."
    return f"{line}these images do not show that they need pretraining."


def _points(mean: float | None, low: float | None, high: float | None) -> str:
    assert mean is not None and low is not None and high is not None
    return f"{100 * mean:z.1f} points [{100 * low:z.1f}, {100 * high:z.1f}]"


def name_of(row: Row, rows: Sequence[Row]) -> str:
    """The backbone, with its weights where these tell it from others here, else with its run."""
    alike = [r for r in rows if r.backbone == row.backbone]
    if len(alike) == 1:
        return row.backbone
    return f"{row.backbone} ({row.weights if sum(r.weights == row.weights for r in alike) == 1 else row.run})"


def names_of(chosen: Sequence[Row], rows: Sequence[Row]) -> str:
    """The same of several, as a list in a sentence."""
    return listed(shortened([name_of(row, rows) for row in chosen]))


def shortened(names: Sequence[str], most: int = NAMED) -> list[str]:
    """The first names, and how many more there are."""
    return [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]


def listed(names: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
