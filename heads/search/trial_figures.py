"""The figures of a trial: what its heads reached on val and what its network costs in, one row of numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from featcache.records import Profile
from featcache.statistics import wilson
from heads.training import EpochRow


@dataclass(frozen=True)
class Figures:
    """A trial's figures on val: means over its heads, accuracies as fractions of all their validation images.

    They are columns of trials.csv in this order.
    """

    val_top1: float
    val_top1_low: float  # the 95% interval of val_top1 over images; a run's own covers seeds and images
    val_top1_high: float
    val_top1_std: float  # between seeds
    val_top3: float
    val_loss: float
    latency_ms: float  # of the full model, batch size as profile.batch_sizes begins
    macs: int
    params: int
    outcomes: int  # validation images x heads: what the fractions are of
    # Of a whole split: with folds the mean of the folds' own; None unless an objective or the choice of epochs asks.
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_auroc: float | None = None


FIGURES = tuple(field.name for field in fields(Figures))


@dataclass(frozen=True)
class HeadFigures:
    """What one head reached on its validation images in one epoch."""

    seed: int
    images: int
    epoch: EpochRow


@dataclass(frozen=True)
class Costs:
    """What a trial's full model costs."""

    latency_ms: float
    macs: int
    params: int


def costs(profile: Profile, profiled_dims: Sequence[int], dims: Sequence[int]) -> Costs:
    """The costs of a model whose head has widths `dims`, from the profile of one whose head has `profiled_dims`: the
    latency is taken over, since hidden layers hardly matter for it."""
    weights = _weights(dims)
    return Costs(
        latency_ms=profile.latency_ms.mean,
        macs=profile.macs - _weights(profiled_dims) + weights,
        params=profile.params_backbone + weights + sum(dims[1:]),
    )


def figures(heads: Sequence[HeadFigures], cost: Costs, units: int | None = None) -> Figures:
    """The figures of a trial from those of its heads; folds count by their images.

    Where the validation images are of fewer independent `units` (groups, copies), the interval is as wide as if those
    of one were all alike: never too narrow.
    """
    images = np.array([h.images for h in heads], dtype=np.float64)
    total = int(images.sum())
    # Accuracies are counts over images: they are counted again, so that equal trials are equal to the last bit.
    right1 = sum(round(h.epoch.val_top1 * h.images) for h in heads)
    right3 = sum(round(h.epoch.val_top3 * h.images) for h in heads)
    seeds = {h.seed: [o for o in heads if o.seed == h.seed] for h in heads}
    by_seed = [sum(o.epoch.val_top1 * o.images for o in own) / sum(o.images for o in own) for own in seeds.values()]
    low, high = wilson(right1 / total, units or total // len(seeds))
    return Figures(
        val_top1=right1 / total,
        val_top1_low=low,
        val_top1_high=high,
        val_top1_std=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0,
        val_top3=right3 / total,
        val_loss=float(sum(h.epoch.val_loss * h.images for h in heads) / total),
        latency_ms=cost.latency_ms,
        macs=cost.macs,
        params=cost.params,
        outcomes=total,
        val_balanced_accuracy=_whole(heads, "balanced_accuracy"),
        val_macro_f1=_whole(heads, "macro_f1"),
        val_auroc=_whole(heads, "auroc"),
    )


def _whole(heads: Sequence[HeadFigures], metric: str) -> float | None:
    """A metric of the whole split; folds count by their images. None where a head was not judged by it."""
    if not all(metric in h.epoch.more for h in heads):
        return None
    return float(sum(h.epoch.more[metric] * h.images for h in heads) / sum(h.images for h in heads))


def _weights(dims: Sequence[int]) -> int:
    """Weights of a head's layers, without biases: as many as its multiply-adds."""
    return sum(a * b for a, b in pairwise(dims))
