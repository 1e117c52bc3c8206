"""What a trial came to, and the number that a sampler follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heads.search.sweep_options import Objective

MAXIMISED: frozenset[Objective] = frozenset({"val_top1", "val_top3"})


@dataclass(frozen=True)
class Figures:
    """A trial's figures on val: means over its heads, accuracies as fractions of all their validation images."""

    val_top1: float
    val_top3: float
    val_loss: float
    val_top1_std: float  # between seeds
    outcomes: int  # validation images x heads: what the fractions are of
    val_top1_low: float  # the 95% interval of val_top1 over images; a run's own covers seeds and images
    val_top1_high: float
    latency_ms: float  # of the full model, batch size as profile.batch_sizes begins
    macs: int
    params: int

    def value(self, objective: Objective) -> float:
        """What a sampler follows.

        Validation sets are small, so many trials share an accuracy: with four classes top-3 is nearly flat. Ties are
        broken inside the number: of n outcomes with `a` right among the first three, `b` right at once and a mean
        loss L, val_top3 is `(a + (b + 1 / (1 + L)) / (n + 1)) / n`, and val_top1 `(b + 1 / (1 + L)) / n`. What is
        added is less than one outcome is worth, so the order is that of (top-3, top-1, loss), as far as a double can
        tell losses apart; since the loss moves with every change of an option, there is always a slope to follow.
        """
        n, tie = self.outcomes, 1 / (1 + self.val_loss)
        if objective == "val_top3":
            return (self.val_top3 * n + (self.val_top1 * n + tie) / (n + 1)) / n
        if objective == "val_top1":
            return (self.val_top1 * n + tie) / n
        return float(getattr(self, objective))


@dataclass(frozen=True)
class Seen:
    """What one head saw on its validation images: how many, and its figures of one epoch."""

    seed: int
    images: int
    top1: float
    top3: float
    loss: float


def figures(seen: Sequence[Seen], latency_ms: float, macs: int, params: int) -> Figures:
    """The figures of a trial from those of its heads; folds count by their images."""
    images = np.array([s.images for s in seen], dtype=np.float64)
    total = int(images.sum())
    # Accuracies are counts over images: they are counted again, so that equal trials are equal to the last bit.
    right1 = sum(round(s.top1 * s.images) for s in seen)
    right3 = sum(round(s.top3 * s.images) for s in seen)
    seeds = {s.seed: [o for o in seen if o.seed == s.seed] for s in seen}
    by_seed = [sum(o.top1 * o.images for o in ones) / sum(o.images for o in ones) for ones in seeds.values()]
    low, high = _wilson(right1 / total, total // len(seeds))
    return Figures(
        val_top1=right1 / total,
        val_top3=right3 / total,
        val_loss=float(sum(s.loss * s.images for s in seen) / total),
        val_top1_std=float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else 0.0,
        outcomes=total,
        val_top1_low=low,
        val_top1_high=high,
        latency_ms=latency_ms,
        macs=macs,
        params=params,
    )


def _wilson(share: float, images: int) -> tuple[float, float]:
    """The 95% score interval (Wilson 1927) of a share of so many images: quick, and sound near 0 and 1 too."""
    z = 1.96
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)
