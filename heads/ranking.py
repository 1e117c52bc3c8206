"""The leaderboard: finished runs ranked by what they reach on val, ties named as ties, with what they cost."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from featcache.atomic import write_text
from heads.runs import Run

TOP = 3


@dataclass(frozen=True)
class Row:
    """One line of leaderboard.csv; accuracies are fractions, latencies milliseconds, macs those of one image."""

    rank: int  # shared by runs that cannot be told apart
    backbone: str
    weights: str
    features: int
    val_top1: float
    val_top1_std: float
    val_top3: float
    val_top3_std: float
    test_top1: float
    test_top3: float
    latency_ms: float
    latency_p95_ms: float
    macs: int
    params: int  # of backbone and head
    images_per_second: float  # of the full model's forward passes at data.batch_size
    head_seconds: float
    phase: int
    run: str


@dataclass(frozen=True)
class Leaderboard:
    """The runs on one data set, best first."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]  # runs on other data, which no accuracy here compares with
    fell_back: tuple[str, ...]  # backbones that stand here with random weights although pretrained ones were wanted

    @property
    def top(self) -> tuple[Row, ...]:
        """The best run of each of the first three backbones."""
        best: dict[str, Row] = {}
        for row in self.rows:
            best.setdefault(row.backbone, row)
        return tuple(best.values())[:TOP]

    def tied(self, row: Row) -> bool:
        """Whether another run shares this one's rank."""
        return sum(r.rank == row.rank for r in self.rows) > 1


def leaderboard(runs: Sequence[Run], data: str | None = None) -> Leaderboard:
    """Rank `runs` on the data with the fingerprint `data` (default: that of the run finished last).

    Order: val top-3, then top-1, then the lower loss. With few classes top-3 is nearly flat, so a difference in top-3
    within its own 95% interval is a tie that top-1 breaks, not luck that outranks it.
    """
    if not runs:
        return Leaderboard((), (), ())
    if data is None:
        data = _fingerprint(max(runs, key=lambda r: (r.folder / "summary.json").stat().st_mtime_ns))
    here = [r for r in runs if _fingerprint(r) == data]
    here = _ordered(here)
    ranks: list[int] = []
    for place, run in enumerate(here):
        leader = here[ranks[-1] - 1] if ranks else run
        ranks.append(ranks[-1] if ranks and _tied(leader, run) else place + 1)
    rows = tuple(_row(rank, run) for rank, run in zip(ranks, here, strict=True))
    left_out = tuple(r.folder.name for r in runs if _fingerprint(r) != data)
    fell_back = dict.fromkeys(r.summary["backbone"] for r in here if r.summary["weights_fell_back"])
    return Leaderboard(rows, left_out, tuple(fell_back))


def write_leaderboard(board: Leaderboard, file: Path) -> None:
    """leaderboard.csv, whole or as it was."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [f.name for f in fields(Row)]
    table.writerow(names)
    table.writerows([getattr(row, n) for n in names] for row in board.rows)
    write_text(file, text.getvalue())


def _ordered(runs: Sequence[Run]) -> list[Run]:
    """Best first: the runs that tie with the best top-3 go by top-1 and loss, then those that tie with the next."""
    rest = sorted(runs, key=lambda r: (-_mean(r, "top3"), -_mean(r, "top1"), _mean(r, "loss"), r.folder.name))
    ordered: list[Run] = []
    while rest:
        group = [r for r in rest if _same(rest[0], r, "top3")]
        rest = [r for r in rest if r not in group]
        ordered += sorted(group, key=lambda r: (-_mean(r, "top1"), _mean(r, "loss"), r.folder.name))
    return ordered


def _tied(leader: Run, run: Run) -> bool:
    """Whether two runs cannot be told apart, neither by top-3 nor by top-1."""
    return _same(leader, run, "top3") and _same(leader, run, "top1")


def _same(one: Run, other: Run, metric: str) -> bool:
    """Whether two runs differ in a metric by no more than the 95% interval of their difference.

    The intervals are taken as independent, which is on the safe side: the images are the same.
    """
    low_high = [r.summary["val"][metric]["ci95"] for r in (one, other)]
    half = [(high - low) / 2 for low, high in low_high]
    return abs(_mean(one, metric) - _mean(other, metric)) <= math.hypot(*half)


def _row(rank: int, run: Run) -> Row:
    val, test, performance = run.summary["val"], run.summary["test"], run.performance
    return Row(
        rank=rank,
        backbone=run.summary["backbone"],
        weights=run.summary["weights"],
        features=run.summary["features"],
        val_top1=val["top1"]["mean"],
        val_top1_std=val["top1"]["std"],
        val_top3=val["top3"]["mean"],
        val_top3_std=val["top3"]["std"],
        test_top1=test["top1"]["mean"],
        test_top3=test["top3"]["mean"],
        latency_ms=performance["latency_ms"]["mean"],
        latency_p95_ms=performance["latency_ms"]["p95"],
        macs=performance["macs"],
        params=performance["params_backbone"] + performance["params_head"],
        images_per_second=performance["images_per_second"],
        head_seconds=performance["head_seconds"],
        phase=run.summary["phase"],
        run=run.folder.name,
    )


def _mean(run: Run, metric: str) -> float:
    value: Any = run.summary["val"][metric]["mean"]
    return float(value)


def _fingerprint(run: Run) -> str:
    return str(run.summary["data"]["fingerprint"])
