"""The leaderboard itself: its rows, the three that go on to Phase 2, its gains; written as leaderboard.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.atomic import write_text
from featcache.counted_nouns import counted
from featcache.statistics import Corrected
from featcache.table_cells import inert
from heads.leaderboard.chosen_among import chosen_among
from heads.leaderboard.chosen_best import Correction
from heads.leaderboard.columns import Row, columns
from heads.leaderboard.compared_run import Difference
from heads.training import find_metric

TOP = 3
CONTROL = "–"  # where others have a rank
MAY_BE_BEST = "•"  # behind the rank


@dataclass(frozen=True)
class Judged:
    """By how many images runs are judged, and how many of them were drawn independently: images and groups."""

    images: int = 0
    units: int = 0
    seeds: int = 0  # of the run that has the most

    @property
    def grouped(self) -> bool:
        """Whether it is groups (data.groups) that count."""
        return self.units < self.images

    def __str__(self) -> str:
        """As a sentence begins with it: "32 validation images"."""
        images = counted(self.images, "validation image")
        return f"{counted(self.units, 'group')} ({images})" if self.grouped else images


@dataclass(frozen=True)
class Rival:
    """The first feature map that is not told from the best."""

    run: str
    metric: str
    behind: float
    images: int  # more validation images that would tell the two apart; 0 where no number can be said
    seeds_differ: bool = False  # whether none can be said since the luck of the seeds would remain


@dataclass(frozen=True)
class Leaderboard:
    """The runs on one data set, best first."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]  # runs on other data, which no accuracy here compares with
    fell_back: tuple[str, ...]  # backbones that stand here with random weights although pretrained ones were wanted
    # Of Phase 1 runs by name, how far they are behind the best one: in val top-1 and top-3, and in the linear probe.
    behind: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    stores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each run: where its features lie
    correction: Correction = field(default_factory=Correction)  # of the first Phase 1 run
    tuned: Correction = field(default_factory=Correction)  # of the first Phase 2 run, among those
    rival: Rival | None = None
    order: tuple[str, ...] = ("top3", "top1")  # the metrics that it is ranked by
    judged: Judged = field(default_factory=Judged)  # the validation images of the first Phase 1 run

    @property
    def best(self) -> Mapping[str, Corrected]:
        """Of the first Phase 1 run by metric: its figure on val as found, and corrected for having been chosen."""
        return self.correction.figures

    @property
    def candidates(self) -> tuple[Row, ...]:
        """Of `feature_maps` those that the answer is about: all, or where a control group stands beside them, without
        it."""
        return tuple(row for row in self.feature_maps if not row.control)

    @property
    def controls(self) -> tuple[Row, ...]:
        """Of `feature_maps` those on random weights that stand beside pretrained ones."""
        return tuple(row for row in self.feature_maps if row.control)

    @property
    def feature_maps(self) -> tuple[Row, ...]:
        """One row for each feature map, candidates first, the best of each first: the best of the Phase 1 runs on the
        same stores, those of students aside."""
        best: dict[tuple[str, ...], Row] = {}
        for row in self.rows:
            if row.phase == 1 and not row.teacher:
                best.setdefault(self.stores[row.run], row)
        return tuple(best.values())

    @property
    def top(self) -> tuple[Row, ...]:
        """The best Phase 1 run of each of the first three backbones, controls aside: what goes on to Phase 2."""
        best: dict[str, Row] = {}
        for row in self.rows:
            if row.phase == 1 and not row.control and not row.teacher:
                best.setdefault(row.backbone, row)
        return tuple(best.values())[:TOP]

    def tied(self, row: Row) -> bool:
        """Whether another run shares this one's rank."""
        return sum(r.rank == row.rank for r in self.rows) > 1

    def rank_text(self, row: Row) -> str:
        """A rank as people see it: an equals sign marks ties, a dot what may be the best, where that is more than one;
        controls have none."""
        if row.control:
            return CONTROL
        several = sum(bool(r.may_be_best) for r in self.rows) > 1
        dot = MAY_BE_BEST if row.may_be_best and several else ""
        return f"{row.rank}{'=' if self.tied(row) else ''}{dot}"

    @property
    def order_text(self) -> str:
        """By which metrics of val it is ranked: "top-3, then top-1, then loss"."""
        names = dict.fromkeys([*self.order, "top1", "loss"])
        return ", then ".join(find_metric(name).title for name in names)

    def gains(self) -> list[str]:
        """A line for each Phase 2 run beside the run that it came from, which need not be on the board; the best of
        them corrected for having been chosen, its recipe too."""
        return [
            f"phase 2: {row.backbone} {row.val_top1 - row.gain_top1:.3f} -> {row.val_top1:.3f} val top-1, "
            f"{row.gain_top1:+z.3f} [{row.gain_top1_low:+z.3f}, {row.gain_top1_high:+z.3f}] over run {row.from_run}"
            f"{self._chosen(row)}"
            for row in self.rows
            if row.gain_top1 is not None
        ]

    def _chosen(self, row: Row) -> str:
        """What is left of the best fine-tuned run's figure; "" of others, and where there was nothing to choose."""
        top1 = self.tuned.figures.get("top1")
        among = chosen_among(top1, "fine-tuned runs") if top1 is not None and row.run == self.tuned.first else ""
        searched = f"recipe the best of {row.recipes_tried} tried on the same images" if row.recipes_tried else ""
        if top1 is None or not among:
            added = f", which added {row.recipe_added_top1:.3f}" if row.recipe_added_top1 is not None else ""
            return f"; {searched}{added}" if searched else ""
        unknown = " (not for their epochs: not all of these are kept)" if self.tuned.alone else ""
        figure = f"{top1.mean:.3f} [{top1.low:.3f}, {top1.high:.3f}]"
        if searched and row.recipe_added_top1 is not None:
            among, searched = f"{among}, and its {searched}", ""
        unknown += f"; {searched}, which it is not corrected for" if searched else ""
        return f"; corrected for having been chosen among {among}, {figure}{unknown}"


def write_leaderboard(board: Leaderboard, file: Path) -> None:
    """leaderboard.csv, whole or as it was."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [column.name for column in columns()]
    table.writerow(names)
    table.writerows([_cell(row.value(name)) for name in names] for row in board.rows)
    write_text(file, text.getvalue())


def _cell(value: Any) -> Any:
    """A run from a stranger may call its backbone `=cmd|..`."""
    return inert(value) if isinstance(value, str) else value
