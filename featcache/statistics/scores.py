"""What one run gave image by image, and how sure its mean is: the luck of the images and that of the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Values = NDArray[np.float64]
RARE = 0.999  # what seeds of one run must differ by to have a variance of their own


@dataclass(frozen=True, eq=False)
class Scores:
    """A metric of one run: `values` `[S, N]` of S seeds on N images, whose mean is the figure.

    `units` names for each image what was drawn from the world together: the image itself, or its group (a patient, a
    video). Runs that share units answered the same images, and are compared on them.
    """

    values: Values
    units: tuple[str, ...]  # [N]
    bounded: bool = True  # whether the figure lies between 0 and 1, as a share does
    loss: bool = False  # whether it is a loss with its sign turned, so that it lies below 0 and has no other end

    @cached_property
    def mean(self) -> float:
        """The figure."""
        return float(self.values.mean())

    @cached_property
    def influence(self) -> Values:
        """What each image moves the figure by `[N]`: its mean over seeds less the figure, over N."""
        by_image = self.values.mean(axis=0)
        found: Values = (by_image - self.mean) / len(by_image)
        return found

    @cached_property
    def image_variance(self) -> float:
        """Of the figure, from which images were drawn: units are independent, images of one unit are not."""
        _, unit = np.unique(np.array(self.units), return_inverse=True)
        return float((np.bincount(unit, self.influence) ** 2).sum())

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.values)

    @cached_property
    def between_seeds(self) -> float:
        """Variance of the seeds' figures; 0 of one seed."""
        return float(self.values.mean(axis=1).var(ddof=1)) if self.seeds > 1 else 0.0

    @cached_property
    def within_seeds(self) -> float:
        """What of `between_seeds` comes of each seed's luck with single images alone.

        The two-way analysis of variance without replication (Scheffe 1959, 4.8): the mean square of what neither the
        seed nor the image explains, over N; of several images of a unit that of their sums.
        """
        seeds, images = self.values.shape
        _, unit = np.unique(np.array(self.units), return_inverse=True)
        units = int(unit.max()) + 1
        if seeds < 2 or units < 2:
            return 0.0
        rest = self.values - self.values.mean(axis=1, keepdims=True) - self.values.mean(axis=0) + self.mean
        sums = np.stack([np.bincount(unit, row) for row in rest])
        return float((sums**2).sum() * units / ((seeds - 1) * (units - 1) * images**2))


def seed_variances(scores: Sequence[Scores]) -> Values:
    """The variance of one seed's figure from which seed was drawn, of each run `[K]`.

    Three seeds say little of their own spread, so it is pooled: the median over runs (of two their mean), which a run
    that trains well with some seeds only does not move. Such a run, whose seeds differ by more than would happen once
    in a thousand by the pooled variance, has its own. Of runs with a single seed it is the others'; 0 where no run has
    several.
    """
    known = [s for s in scores if s.seeds > 1]
    if not known:
        return np.zeros(len(scores))
    if len(known) < 3:
        pooled = max(0.0, float(np.mean([s.between_seeds - s.within_seeds for s in known])))
    else:
        middle = [s.between_seeds / (chi2.median(s.seeds - 1) / (s.seeds - 1)) for s in known]
        pooled = max(0.0, float(np.median(np.array(middle) - [s.within_seeds for s in known])))
    return np.array([_own_or(pooled, s) for s in scores])


def _own_or(pooled: float, one: Scores) -> float:
    freedom = one.seeds - 1
    if not freedom or one.between_seeds <= (pooled + one.within_seeds) * chi2.ppf(RARE, freedom) / freedom:
        return pooled
    return one.between_seeds - one.within_seeds
