"""Which Phase 1 runs go on to Phase 2: the best of different backbones by accuracy, cost or separability."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Literal

from featcache.counted_nouns import are, counted, have
from featcache.errors import RunError
from featcache.options import joined_names
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row

log = logging.getLogger("featcache")

Criterion = Literal["accuracy", "pareto", "separability"]


def choose(board: Leaderboard, count: int, by: Criterion) -> tuple[Row, ...]:
    """The `count` best Phase 1 rows of different backbones, best first.

    `accuracy`: in the order of the leaderboard. `pareto`: those that no other beats in accuracy (val top-3, then top-1)
    without being slower, then those that only they beat, and so on; in each front in the order of the leaderboard.
    `separability`: by the largest LogME of the cached features. Backbones that are joined cannot be fine-tuned and are
    passed over, and so are controls with random weights. Raises RunError where there are fewer backbones.
    """
    rows = [row for row in board.rows if row.phase == 1 and not row.control and not row.teacher]
    cached = dict.fromkeys(row.backbone for row in rows if _is_joined(row))
    if cached:
        log.info("passed over, since joined backbones cannot be fine-tuned: %s", ", ".join(cached))
    rows = [row for row in rows if not _is_joined(row)]
    there = len({row.backbone for row in rows})
    if there < count:
        passed = ", those of the control group with random weights aside" if any(r.control for r in board.rows) else ""
        raise RunError(
            f"{counted(there, 'backbone')} {have(there)} a Phase 1 run that can be fine-tuned{passed}, and {count} "
            f"{are(count)} asked for. Run `featcache benchmark` on more backbones first, or ask for fewer: --top "
            f"{max(there, 1)}."
        )
    if by == "pareto":
        return _by_front(rows, count)
    if by == "separability":
        rows = sorted(rows, key=_logme, reverse=True)  # equals stay in the leaderboard's order
        for row in rows:
            log.info("%s: LogME %.4f", row.run, _logme(row))
    return _distinct(rows)[:count]


def _logme(row: Row) -> float:
    found = row.more["logme"]
    assert found is not None  # every Phase 1 run has it
    return found


def _is_joined(row: Row) -> bool:
    return len(joined_names(row.backbone)) > 1


def _by_front(rows: Sequence[Row], count: int) -> tuple[Row, ...]:
    """Non-dominated sorting (Deb et al. 2002, NSGA-II): a front, then that of the backbones that remain."""
    chosen: list[Row] = []
    rest = list(rows)
    while rest and len(chosen) < count:
        chosen += _distinct([row for row in rest if not any(_dominates(other, row) for other in rest)])
        names = {row.backbone for row in chosen}
        rest = [row for row in rest if row.backbone not in names]
    return tuple(chosen[:count])


def _dominates(one: Row, other: Row) -> bool:
    """Whether a run is as good as another in both accuracy and latency, and better in one."""
    accuracies = [(row.val_top3, row.val_top1) for row in (one, other)]
    as_good = accuracies[0] >= accuracies[1] and one.latency_ms <= other.latency_ms
    return as_good and (accuracies[0] > accuracies[1] or one.latency_ms < other.latency_ms)


def _distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The first row of each backbone."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.backbone, row)
    return tuple(first.values())
