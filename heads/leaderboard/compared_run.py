"""Two finished runs compared: their paired difference with its 95% interval, and when that counts as a tie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.records import digest
from heads.runs import Predictions, Probe, Run, load_probe, predictions_of
from heads.training import interval, outcome, resampled_means


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


@dataclass(frozen=True, eq=False)
class ComparedRun:
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

    def start(self, others: Mapping[str, ComparedRun]) -> ComparedRun | None:
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

    def tied(self, other: ComparedRun) -> bool:
        """Whether two runs cannot be told apart, neither by top-3 nor by top-1."""
        return self.same(other, "top3") and self.same(other, "top1")

    def same(self, other: ComparedRun, metric: str) -> bool:
        """Whether the 95% interval of the difference in a metric holds 0."""
        if self.mean(metric) == other.mean(metric):
            return True
        low, high = self.lead(other, metric)
        return low <= 0 <= high

    def lead(self, other: ComparedRun, metric: str) -> tuple[float, float]:
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

    def difference(self, other: ComparedRun, metric: str) -> Difference:
        """This run less the other in a metric of val."""
        return Difference(self.mean(metric) - other.mean(metric), *self.lead(other, metric))

    @property
    def probed(self) -> float:
        """The share of images that the linear probe gets right."""
        assert self.probe is not None
        return float(self.probe.right.mean())

    def probe_difference(self, other: ComparedRun) -> Difference | None:
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
        return {m: resampled_means(np.stack([o.values[m] for o in outcomes]), stream) for m in ("top1", "top3")}


def fingerprint_of(run: Run) -> str:
    """That of the data that a run was trained on."""
    return str(run.summary["data"]["fingerprint"])
