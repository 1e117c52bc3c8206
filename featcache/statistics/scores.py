"""What one run gave image by image, and how sure its mean is: the luck of the images and that of the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f

DIFFER = 0.05  # how rare a variance between seeds must be to stand alone
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """A metric of one run: `values` `[S, N]` of S seeds on N images, whose mean is the figure.

    `units` names for each image what was drawn from the world together: the image itself, or its group (a patient, a
    video). Runs that share units answered the same images, and are compared on them.
    """

    values: Values
    units: tuple[str, ...]  # [N]
    bounded: bool = True  # whether the figure lies between 0 and 1, as a share does

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
    def seed_variance(self) -> float | None:
        """Of one seed's figure, from which seed was drawn, beyond what single images differ by; None for one seed.

        The two-way analysis of variance without replication (Scheffe 1959, 4.8): mean squares between seeds less those
        of the rest, over N. It may come out below 0, so that a mean of several is fair.
        """
        seeds, images = self.values.shape
        if seeds < 2 or images < 2:
            return None
        by_seed, by_image = self.values.mean(axis=1), self.values.mean(axis=0)
        rest = self.values - by_seed[:, None] - by_image + self.mean
        between = images * float(by_seed.var(ddof=1))
        within = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
        return float((between - within) / images)


def pooled_seed_variance(scores: Sequence[Scores]) -> float:
    """The luck of one seed, pooled over runs: each run's own estimate has too few seeds to be trusted alone."""
    return _pooled([(s.seed_variance, s.seeds - 1) for s in scores if s.seed_variance is not None])


def seed_variances(scores: Sequence[Scores]) -> Values:
    """The luck of one seed of each run `[K]`: pooled over the runs whose seeds differ alike.

    A run whose seeds differ by far more, such as one of which a seed failed, has its own estimate and no part in the
    others': one after the other the largest variance between seeds leaves the pool while it is larger than those of the
    rest would have it (F test at 5% over all runs, Bonferroni).
    """
    alike = [k for k, s in enumerate(scores) if s.seed_variance is not None]
    between = {k: (float(scores[k].values.mean(axis=1).var(ddof=1)), scores[k].seeds - 1) for k in alike}
    alike.sort(key=lambda k: between[k][0])
    while len(alike) > 2:
        (largest, own), rest = between[alike[-1]], _pooled([between[k] for k in alike[:-1]])
        freedom = sum(between[k][1] for k in alike[:-1])
        if rest <= 0 or len(between) * float(f.sf(largest / rest, own, freedom)) > DIFFER:
            break
        alike.pop()
    found = np.full(len(scores), pooled_seed_variance([scores[k] for k in alike]))
    for k in set(between) - set(alike):
        found[k] = max(found[k], scores[k].seed_variance or 0.0)
    return found


def _pooled(known: Sequence[tuple[float, int]]) -> float:
    """Variances with their degrees of freedom."""
    if not known:
        return 0.0
    return max(0.0, float(sum(variance * weight for variance, weight in known)) / sum(weight for _, weight in known))
