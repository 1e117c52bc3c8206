"""The leaderboard: finished runs ranked by what they reach on val, ties named as ties, with what they cost."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.atomic import write_text
from featcache.records import digest
from heads.agreement import MEASURES
from heads.evaluation import Predictions, Probe, load_probe, predictions_of
from heads.metrics import interval, outcome, resampled_means
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
    val_top1_low: float  # the 95% interval of val_top1, over seeds and images
    val_top1_high: float
    val_top3_low: float
    val_top3_high: float
    from_run: str  # of Phase 2: the run whose model was fine-tuned; "" where there is none
    gain_top1: float | None  # val_top1 less that of from_run, with its 95% interval; None where that is not here
    gain_top1_low: float | None
    gain_top1_high: float | None
    gain_top3: float | None
    gain_top3_low: float | None
    gain_top3_high: float | None
    linear_probe: float | None  # from here on: separability of the cached features, of Phase 1 (featcache.separability)
    knn_accuracy: float | None
    centroid_accuracy: float | None
    logme: float | None
    h_score: float | None
    fisher_ratio: float | None
    silhouette: float | None
    effective_rank: float | None


@dataclass(frozen=True)
class Difference:
    """How much more accurate one run is than another, with the 95% interval; paired where both saw the same images."""

    mean: float
    low: float
    high: float

    @property
    def tied(self) -> bool:
        """Whether 0 cannot be ruled out."""
        return self.mean == 0 or self.low <= 0 <= self.high


@dataclass(frozen=True)
class Leaderboard:
    """The runs on one data set, best first."""

    rows: tuple[Row, ...]
    left_out: tuple[str, ...]  # runs on other data, which no accuracy here compares with
    fell_back: tuple[str, ...]  # backbones that stand here with random weights although pretrained ones were wanted
    # Of Phase 1 runs by name, how far they are behind the best one: in val top-1 and top-3, and in the linear probe.
    behind: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    stores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of each run: where its features lie

    @property
    def feature_maps(self) -> tuple[Row, ...]:
        """One row for each feature map, best first: the best of the Phase 1 runs on the same stores."""
        best: dict[tuple[str, ...], Row] = {}
        for row in self.rows:
            if row.phase == 1:
                best.setdefault(self.stores[row.run], row)
        return tuple(best.values())

    @property
    def top(self) -> tuple[Row, ...]:
        """The best Phase 1 run of each of the first three backbones: what goes on to Phase 2."""
        best: dict[str, Row] = {}
        for row in self.rows:
            if row.phase == 1:
                best.setdefault(row.backbone, row)
        return tuple(best.values())[:TOP]

    def tied(self, row: Row) -> bool:
        """Whether another run shares this one's rank."""
        return sum(r.rank == row.rank for r in self.rows) > 1

    def gains(self) -> list[str]:
        """A line for each Phase 2 run beside the run that it came from."""
        rows = {row.run: row for row in self.rows}
        return [
            f"phase 2: {row.backbone} {rows[row.from_run].val_top1:.3f} -> {row.val_top1:.3f} val top-1, "
            f"{row.gain_top1:+.3f} [{row.gain_top1_low:+.3f}, {row.gain_top1_high:+.3f}] over run {row.from_run}"
            for row in self.rows
            if row.gain_top1 is not None
        ]


def leaderboard(runs: Sequence[Run], data: str | None = None) -> Leaderboard:
    """Rank `runs` on the data with the fingerprint `data` (default: that of the run finished last).

    Order: val top-3, then top-1, then the lower loss. With few classes top-3 is nearly flat, so a difference in top-3
    within its own 95% interval is a tie that top-1 breaks, not luck that outranks it.
    """
    if not runs:
        return Leaderboard((), (), ())
    if data is None:
        data = _fingerprint(max(runs, key=lambda r: (r.folder / "summary.json").stat().st_mtime_ns))
    compared = _ordered([_Compared(r) for r in runs if _fingerprint(r) == data])
    ranks: list[int] = []
    for place, one in enumerate(compared):
        tied = ranks and one.tied(compared[ranks[-1] - 1])
        ranks.append(ranks[-1] if tied else place + 1)
    here = {one.run.folder.name: one for one in compared}
    rows = tuple(_row(rank, one, one.start(here)) for rank, one in zip(ranks, compared, strict=True))
    left_out = tuple(r.folder.name for r in runs if _fingerprint(r) != data)
    fell_back = dict.fromkeys(c.run.summary["backbone"] for c in compared if c.run.summary["weights_fell_back"])
    behind = _behind([c for c in compared if c.run.summary["phase"] == 1])
    stores = {name: tuple(one.run.summary["stores"]) for name, one in here.items()}
    return Leaderboard(rows, left_out, tuple(fell_back), behind, stores)


def _behind(phase1: Sequence[_Compared]) -> dict[str, dict[str, Difference]]:
    """How far each is behind the first of them, and in the linear probe behind the one that is best in that."""
    found: dict[str, dict[str, Difference]] = {}
    probed = [c for c in phase1 if c.probe is not None]
    best = max(probed, key=lambda c: c.probed, default=None)
    for one in phase1:
        found[one.run.folder.name] = {m: phase1[0].difference(one, m) for m in ("top1", "top3")}
        probed_apart = best.probe_difference(one) if best is not None and one.probe is not None else None
        if probed_apart is not None:
            found[one.run.folder.name]["linear_probe"] = probed_apart
    return found


def write_leaderboard(board: Leaderboard, file: Path) -> None:
    """leaderboard.csv, whole or as it was."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [f.name for f in fields(Row)]
    table.writerow(names)
    table.writerows([getattr(row, n) for n in names] for row in board.rows)
    write_text(file, text.getvalue())


def _ordered(runs: Sequence[_Compared]) -> list[_Compared]:
    """Best first: the runs that tie with the best top-3 go by top-1 and loss, then those that tie with the next."""
    rest = sorted(runs, key=lambda c: (-c.mean("top3"), *c.order))
    ordered: list[_Compared] = []
    while rest:
        group = [c for c in rest if c.same(rest[0], "top3")]
        rest = [c for c in rest if c not in group]
        ordered += sorted(group, key=lambda c: c.order)
    return ordered


@dataclass(frozen=True, eq=False)
class _Compared:
    """A run beside others."""

    run: Run

    @property
    def order(self) -> tuple[float, float, str]:
        """What sorts runs of equal top-3."""
        return -self.mean("top1"), self.mean("loss"), self.run.folder.name

    @property
    def from_run(self) -> str:
        """The name of the run that a Phase 2 run came from; "" where there is none."""
        return (self.run.summary["from_run"] or "") if self.run.summary["phase"] == 2 else ""

    def start(self, others: Mapping[str, _Compared]) -> _Compared | None:
        """The run that this Phase 2 run came from, if it is still the same one and both answered the same images."""
        one = others.get(self.from_run)
        if one is None or digest(one.run.summary.get("inputs")) != self.run.summary["from_inputs"]:
            return None
        mine, theirs = self._predictions, one._predictions
        other = mine is not None and theirs is not None and mine.images != theirs.images  # it was cross-validated
        return None if other else one

    def mean(self, metric: str) -> float:
        """Of val, over seeds and images."""
        return float(self.run.summary["val"][metric]["mean"])

    def tied(self, other: _Compared) -> bool:
        """Whether two runs cannot be told apart, neither by top-3 nor by top-1."""
        return self.same(other, "top3") and self.same(other, "top1")

    def same(self, other: _Compared, metric: str) -> bool:
        """Whether the 95% interval of the difference in a metric holds 0."""
        if self.mean(metric) == other.mean(metric):
            return True
        low, high = self.lead(other, metric)
        return low <= 0 <= high

    def lead(self, other: _Compared, metric: str) -> tuple[float, float]:
        """The 95% interval of the difference in a metric, this run less the other.

        The difference is paired: both answered the same images. Where they did not (one was cross-validated), the
        intervals are taken as independent.
        """
        mine, theirs = self._predictions, other._predictions
        if mine is not None and theirs is not None and mine.images == theirs.images:
            return interval(self._resampled[metric] - other._resampled[metric])
        difference = self.mean(metric) - other.mean(metric)
        ends = [c.run.summary["val"][metric]["ci95"] for c in (self, other)]
        half = math.hypot(*((high - low) / 2 for low, high in ends))
        return difference - half, difference + half

    def difference(self, other: _Compared, metric: str) -> Difference:
        """This run less the other in a metric of val."""
        return Difference(self.mean(metric) - other.mean(metric), *self.lead(other, metric))

    @property
    def probed(self) -> float:
        """The share of images that the linear probe gets right."""
        assert self.probe is not None
        return float(self.probe.right.mean())

    def probe_difference(self, other: _Compared) -> Difference | None:
        """This run less the other in the linear probe; paired by image. None where they looked at other images."""
        assert self.probe is not None
        assert other.probe is not None
        mine, theirs = np.argsort(self.probe.images), np.argsort(other.probe.images)
        if [self.probe.images[i] for i in mine] != [other.probe.images[i] for i in theirs]:
            return None
        apart = self.probe.right[mine].astype(np.float64) - other.probe.right[theirs]
        return Difference(self.probed - other.probed, *interval(resampled_means(apart[None])))

    @cached_property
    def probe(self) -> Probe | None:
        """What the linear probe got right; None where there is none."""
        try:
            return load_probe(self.run.folder / "predictions.npz")
        except (OSError, KeyError, ValueError):
            return None

    @cached_property
    def _predictions(self) -> Predictions | None:
        return predictions_of(self.run.folder, "val")

    @cached_property
    def _resampled(self) -> dict[str, NDArray[np.float64]]:
        """The bootstrap of top-1 and top-3; its seeds' draws are the run's own."""
        seen = self._predictions
        assert seen is not None
        labels = torch.from_numpy(seen.labels)
        outcomes = [outcome(torch.from_numpy(logits), labels) for logits in seen.logits]
        stream = int(digest(self.run.folder.name)[:8], 16)
        return {m: resampled_means(np.stack([getattr(o, m) for o in outcomes]), stream) for m in ("top1", "top3")}


def _row(rank: int, one: _Compared, start: _Compared | None) -> Row:
    """`start` is the run that a Phase 2 run came from, where it is among those compared."""
    run = one.run
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
        val_top1_low=val["top1"]["ci95"][0],
        val_top1_high=val["top1"]["ci95"][1],
        val_top3_low=val["top3"]["ci95"][0],
        val_top3_high=val["top3"]["ci95"][1],
        from_run=one.from_run,
        **_gain(one, start, "top1"),
        **_gain(one, start, "top3"),
        **{name: (run.summary["separability"] or {}).get(name) for name in MEASURES},
    )


def _gain(one: _Compared, start: _Compared | None, metric: str) -> dict[str, float | None]:
    """What fine-tuning brought in a metric of val, with its 95% interval, as the columns of a row."""
    names = (f"gain_{metric}", f"gain_{metric}_low", f"gain_{metric}_high")
    if start is None:
        return dict.fromkeys(names)
    figures = (one.mean(metric) - start.mean(metric), *one.lead(start, metric))
    return dict(zip(names, figures, strict=True))


def _fingerprint(run: Run) -> str:
    return str(run.summary["data"]["fingerprint"])
