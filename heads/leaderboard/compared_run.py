"""A finished run beside others: what it gave image by image, and its difference to one other with its interval."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from featcache.records import digest
from featcache.statistics import JointComparison, Scores
from heads.runs import (
    Predictions,
    Probe,
    Run,
    SearchedRecipe,
    load_probe,
    predictions_of,
    searched_recipe,
    split_scores,
)
from heads.training import ImageOutcomes, find_metric, outcome

log = logging.getLogger("featcache")

PREDICTIONS_FILE = "predictions.npz"


@dataclass(frozen=True)
class Difference:
    """How much more accurate one run is than another, with the limits that the statement holds within at 95%; paired
    where both saw the same images. A run without a figure is behind one that has one by more than any number (inf); of
    two without nothing is known (nan)."""

    mean: float
    low: float
    high: float
    seeds_hide: bool = False  # whether it is for the luck of the seeds that the two are not told apart

    @property
    def tied(self) -> bool:
        """Whether 0 cannot be ruled out."""
        return not (self.low > 0 or self.high < 0)


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """A run beside others."""

    run: Run
    units: Mapping[str, str] = field(default_factory=dict)  # of validation images: what they were drawn together with

    @property
    def name(self) -> str:
        """That of its folder."""
        return self.run.folder.name

    def order(self, metric: str) -> tuple[float, float, float, str]:
        """What sorts runs whose difference in the first metric is not told: by `metric`, top-1, the lower loss."""
        return -self.goodness(metric), -self.goodness("top1"), -self.goodness("loss"), self.name

    @property
    def teacher(self) -> str:
        """The name of the run that it learned from; "" where it learned from labels alone."""
        return str((self.run.summary.get("distillation") or {}).get("teacher", ""))

    @property
    def from_run(self) -> str:
        """The name of the run that a Phase 2 run came from; "" where there is none."""
        return (self.run.summary["from_run"] or "") if self.run.summary["phase"] == 2 else ""

    def start(self, others: Mapping[str, ComparedRun]) -> ComparedRun | None:
        """The run that this Phase 2 run came from, if it is still the same one and both answered the same images."""
        one = others.get(self.from_run)
        if one is None or digest(one.run.summary.get("inputs")) != self.run.summary["from_inputs"]:
            return None
        mine, theirs = self.predictions, one.predictions
        other = mine is not None and theirs is not None and mine.keys != theirs.keys  # it was cross-validated
        return None if other else one

    def mean(self, metric: str) -> float:
        """Of val, over seeds and images."""
        return float(self.run.summary["val"][metric]["mean"])

    def measured(self, metric: str) -> bool:
        """Whether it has a figure: where a head gave no finite logits its loss is none."""
        return math.isfinite(self.mean(metric))

    def goodness(self, metric: str) -> float:
        """The same, larger better: a loss counts less than nothing, and what is not finite less than all."""
        mean = self.mean(metric)
        if not math.isfinite(mean):
            return -math.inf
        return mean if find_metric(metric).larger_is_better else -mean

    def scores(self, metric: str) -> Scores:
        """What its seeds gave on val image by image, larger better.

        Where its predictions are not there, images are made up that have its mean and spread, and that no other run
        answered: its differences are then those of independent samples.
        """
        seen = self.predictions
        if seen is None:
            return self._made_up(metric)
        found = split_scores(seen, self.outcomes, metric)
        return replace(found, units=tuple(self.units.get(key, key) for key in seen.keys))

    def difference(self, other: ComparedRun, metric: str) -> Difference:
        """This run less the other in a metric of val (of a loss: by how much it is lower): a comparison that was not
        chosen among several."""
        beyond = unmeasured_difference(self, other, metric)
        if beyond is not None:
            return beyond
        compared = JointComparison({metric: [self.scores(metric), other.scores(metric)]})
        return Difference(self.goodness(metric) - other.goodness(metric), *compared.interval(metric, 0, 1))

    @property
    def probed(self) -> float:
        """The share of images that the linear probe gets right."""
        assert self.probe is not None
        return float(self.probe.right.mean())

    def probe_scores(self, units: Mapping[str, str]) -> Scores:
        """What the linear probe got right, image by image; `units` says what an image was drawn together with."""
        assert self.probe is not None
        right = self.probe.right[None].astype(np.float64)
        return Scores(right, tuple(units.get(key, key) for key in self.probe.keys))

    @cached_property
    def probe(self) -> Probe | None:
        """What the linear probe got right; None where there is none."""
        try:
            return load_probe(self.run.folder / PREDICTIONS_FILE)
        except (OSError, KeyError, ValueError):
            return None

    @cached_property
    def searched(self) -> SearchedRecipe | None:
        """What it owes to its recipe having been the best of several; None where it was not searched."""
        return searched_recipe(self.run.folder)

    @cached_property
    def predictions(self) -> Predictions | None:
        """Its heads' logits on val; None where they are not there."""
        return predictions_of(self.run.folder, "val")

    @property
    def seeds(self) -> int:
        """How many it was trained with; of a run that does not say, as many as answered."""
        noted = self.run.summary.get("seeds")
        return len(noted) if noted else 1 if self.predictions is None else len(self.predictions.logits)

    @cached_property
    def unseen(self) -> str:
        """Why they are not there: their file is `missing` or `damaged`; "" where they are."""
        if self.predictions is not None:
            return ""
        return "damaged" if (self.run.folder / PREDICTIONS_FILE).exists() else "missing"

    @cached_property
    def outcomes(self) -> list[ImageOutcomes]:
        """Every metric image by image, of each seed."""
        seen = self.predictions
        assert seen is not None
        labels = torch.from_numpy(seen.labels)
        return [outcome(torch.from_numpy(logits), labels) for logits in seen.logits]

    def _made_up(self, metric: str) -> Scores:
        known = find_metric(metric)
        sign = 1.0 if known.larger_is_better else -1.0
        figures = self.run.summary["val"][metric]
        low, high = figures["ci95"]
        n = max(2, int(figures["n"]))
        spread = (high - low) / 2 / 1.96 * math.sqrt(n)
        values = figures["mean"] + spread * np.where(np.arange(n) % 2, 1.0, -1.0) * (np.arange(n) < n - n % 2)
        made_up = tuple(f"{self.name}/{i}" for i in range(n))
        return Scores(sign * values[None], made_up, bounded=known.limits == (0.0, 1.0))


def unmeasured_difference(one: ComparedRun, other: ComparedRun, metric: str) -> Difference | None:
    """One less another where one of them has no figure in a metric; None where both have."""
    if one.measured(metric) and other.measured(metric):
        return None
    beyond = math.nan if one.measured(metric) == other.measured(metric) else math.inf
    beyond = beyond if one.measured(metric) else -beyond
    return Difference(beyond, beyond, beyond)


def warn_of_unseen(runs: Sequence[ComparedRun]) -> None:
    """Say which runs are compared without what they answered, so that nobody takes their limits for paired ones."""
    for one in runs:
        if one.unseen:
            file = one.run.folder / PREDICTIONS_FILE
            log.warning(
                "%s: is %s, so that the run is compared with others as if it had answered other images. Train it again "
                "(--fresh).",
                file,
                one.unseen,
                extra={"once": str(file)},
            )


def with_shared_groups(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """The same runs, all with the groups of the run finished last that has any: images that were drawn together are so
    for runs from before `data.groups` too."""
    latest = sorted(runs, key=lambda one: (one.run.folder / "summary.json").stat().st_mtime_ns, reverse=True)
    seen = next((p for one in latest if (p := one.predictions) is not None and p.groups is not None), None)
    if seen is None:
        return list(runs)
    units = dict(zip(seen.keys, seen.units, strict=True))
    return [replace(one, units=units) for one in runs]


def fingerprint_of(run: Run) -> str:
    """That of the data that a run was trained on."""
    return str(run.summary["data"]["fingerprint"])


def latest_data(runs: Sequence[Run]) -> str:
    """That of the data of the run finished last."""
    return fingerprint_of(max(runs, key=lambda run: (run.folder / "summary.json").stat().st_mtime_ns))
