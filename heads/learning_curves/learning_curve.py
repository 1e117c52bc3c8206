"""A backbone's learning curve: points with their intervals, a power law through them, the classes that want labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from featcache.records import Split
from featcache.statistics import Scores
from heads.learning_curves.curve_intervals import difference_interval, point_interval
from heads.learning_curves.measured_heads import MeasuredHeads
from heads.learning_curves.power_law import PowerLaw, fit_power_law
from heads.learning_curves.training_subsets import Size
from heads.training import find_metric

RARE = 0.05  # of a class whose recall is said to rise
FEW = 0.5  # of the images that a class would have if all had as many: fewer make it scarce

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95% interval."""

    mean: float
    low: float
    high: float
    draws: tuple[float, ...]  # the metric in each draw


@dataclass(frozen=True)
class Point:
    """One size of one curve, or one share of wrong labels at full size."""

    size: str
    shots: int | None  # images of each class, where that is what makes the size
    images: float  # for training: the mean over draws, which differ where groups stay together
    noise: float  # share of wrong labels
    figures: Mapping[str, Estimate]  # by split and metric: val_top1, test_top1, ..


@dataclass(frozen=True)
class ClassNeed:
    """What more images do for one class: its recall on val at the size before the last, and at the last."""

    name: str
    images: int  # for training
    val_images: int
    before: float | None  # None: no images in val
    after: float | None
    certain: bool = False  # the rise is beyond chance, over all classes together

    @property
    def rise(self) -> float:
        """Of its recall."""
        return 0.0 if self.after is None or self.before is None else self.after - self.before


@dataclass(frozen=True)
class LearningCurve:
    """All of one backbone."""

    name: str  # of the run or options
    backbone: str
    points: tuple[Point, ...]  # by size
    noise: tuple[Point, ...]  # by share of wrong labels, 0 first; empty where that was not asked for
    law: PowerLaw | None
    needs: tuple[ClassNeed, ...]
    heads: int
    diverged: int
    lost: Estimate | None = None  # of val top-1 by the largest share of wrong labels
    seconds: float = field(default=0.0)
    constant: float = field(default=0.0)  # val top-1 of always saying the class that is the most frequent in train

    @property
    def scarcest(self) -> ClassNeed | None:
        """The class whose labels are the scarcest: its recall rises most, beyond chance; else the one with the fewest
        images, where it has less than half of an equal share; else none."""
        rising = [need for need in self.needs if need.certain]
        if rising:
            return max(rising, key=lambda need: need.rise)
        fewest = min(self.needs, key=lambda need: need.images)
        share = sum(need.images for need in self.needs) / len(self.needs)
        return fewest if fewest.images < FEW * share else None


def scores_of(measured: MeasuredHeads, split: Split, metric: str, key: tuple[int, float]) -> Scores:
    """One point's values, larger better, with the units of their images."""
    bounded = find_metric(metric).limits == (0, 1)
    return Scores(measured.values[split, metric][key], tuple(map(str, measured.units[split].tolist())), bounded)


def learning_curve(
    measured: MeasuredHeads,
    sizes: Sequence[Size],
    images: Sequence[float],
    train: Mapping[str, int],
    seconds: float = 0.0,
) -> LearningCurve:
    """The curve of what was measured: `images[s]` training images at each size, `train` images of each class in all."""
    keys = list(measured.values["val", "top1"])
    points = {key: _point(measured, sizes[key[0]], images[key[0]], key) for key in keys}
    last = len(sizes) - 1
    noise = tuple(points[key] for key in keys if key[0] == last)
    top1 = measured.values["val", "top1"]
    law = fit_power_law(
        np.array(images, np.float64), [top1[size, 0.0] for size in range(last + 1)], measured.units["val"]
    )
    return LearningCurve(
        measured.name,
        measured.backbone,
        tuple(points[size, 0.0] for size in range(last + 1)),
        noise if len(noise) > 1 else (),
        law,
        tuple(_needs(measured, train, last)),
        measured.heads,
        measured.diverged,
        _lost(measured, keys[-1]) if len(noise) > 1 else None,
        seconds,
        _constant(measured.labels["val"], train),
    )


def _constant(labels: NDArray[np.int64], train: Mapping[str, int]) -> float:
    return float((labels == max(range(len(train)), key=list(train.values()).__getitem__)).mean())


def lost_scores(measured: MeasuredHeads, noisy: tuple[int, float]) -> Scores:
    """What wrong labels take from top-1 on val, image by image: the mean of the heads without any less each draw's."""
    clean = scores_of(measured, "val", "top1", (noisy[0], 0.0))
    values = clean.values.mean(axis=0) - measured.values["val", "top1"][noisy]
    return Scores(values, clean.units, bounded=False)


def _lost(measured: MeasuredHeads, noisy: tuple[int, float]) -> Estimate:
    lost = lost_scores(measured, noisy)
    return Estimate(lost.mean, *difference_interval(lost), tuple(lost.values.mean(axis=1).tolist()))


def _point(measured: MeasuredHeads, size: Size, images: float, key: tuple[int, float]) -> Point:
    figures: dict[str, Estimate] = {}
    for split, metric in measured.values:
        scores = scores_of(measured, split, metric, key)
        low, high = point_interval(scores)
        draws = scores.values.mean(axis=1)
        if find_metric(metric).larger_is_better:
            figures[f"{split}_{metric}"] = Estimate(scores.mean, low, high, tuple(draws.tolist()))
        else:
            figures[f"{split}_{metric}"] = Estimate(-scores.mean, -high, -low, tuple((-draws).tolist()))
    return Point(size.name, size.shots, images, key[1], figures)


def _needs(measured: MeasuredHeads, train: Mapping[str, int], last: int) -> list[ClassNeed]:
    labels, right = measured.labels["val"], measured.values["val", "top1"]
    found = []
    for label, (name, images) in enumerate(train.items()):
        own = labels == label
        if not own.any() or not last:
            found.append(ClassNeed(name, images, int(own.sum()), None, None))
            continue
        before, after = right[last - 1, 0.0][:, own], right[last, 0.0][:, own]
        certain = _rises(before, after, measured.units["val"][own], len(train))
        found.append(ClassNeed(name, images, int(own.sum()), float(before.mean()), float(after.mean()), certain))
    return found


def _rises(before: Values, after: Values, units: NDArray[np.int64], classes: int) -> bool:
    """Whether recall rises beyond chance: paired over units, one-sided, Bonferroni over classes."""
    apart = after.mean(axis=0) - before.mean(axis=0)
    _, unit = np.unique(units, return_inverse=True)
    count = int(unit.max()) + 1
    influence = np.bincount(unit, (apart - apart.mean()) / len(apart), count)
    variance = float(influence @ influence)
    variance += sum(float(one.mean(axis=1).var(ddof=1)) / len(one) for one in (before, after) if len(one) > 1)
    quantile = float(t.isf(RARE / classes, max(1, count - 1)))
    return count > 1 and variance > 0 and float(apart.mean()) > quantile * variance**0.5


def as_dict(curve: LearningCurve) -> dict[str, Any]:
    """The curve as JSON values."""
    law = curve.law
    scarcest = curve.scarcest
    return {
        "name": curve.name,
        "backbone": curve.backbone,
        "heads": curve.heads,
        "diverged": curve.diverged,
        "seconds": round(curve.seconds, 2),
        "points": [_point_dict(point) for point in curve.points],
        "noise": [_point_dict(point) for point in curve.noise],
        "lost_to_noise": None if curve.lost is None else _estimate_dict(curve.lost),
        "law": None if law is None else _law_dict(law),
        "classes": [
            {**{"class": n.name, "images": n.images, "val_images": n.val_images, "recall_before": n.before}}
            | {"recall": n.after, "rises": n.certain}
            for n in curve.needs
        ],
        "scarcest": scarcest.name if scarcest is not None else None,
    }


def _point_dict(point: Point) -> dict[str, Any]:
    figures = {name: _estimate_dict(one) for name, one in point.figures.items()}
    return {"size": point.size, "shots": point.shots, "images": point.images, "noise": point.noise, **figures}


def _estimate_dict(one: Estimate) -> dict[str, Any]:
    return {"mean": one.mean, "ci95": [one.low, one.high], "draws": list(one.draws)}


def _law_dict(law: PowerLaw) -> dict[str, Any]:
    gain, low, high = law.gain(2)
    return {
        **{"a": law.a, "b": law.b, "c": law.c},
        **{f"{name}_ci95": list(limits) for name, limits in zip("abc", law.limits(), strict=True)},
        "poor": law.poor,
        "misfit_p": law.misfit,
        "doubling": {"gain": gain, "ci95": [low, high]},
    }
