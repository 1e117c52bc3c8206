"""The luck of seeds: by how much whole trainings differ beyond single images, and how well so few of them say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from featcache.statistics.scores import Scores, Values

RARE = 0.999  # what seeds of one run must differ by to have a variance of their own
SURE = 0.95  # of boards whose seeds differ by single images alone, the share that is not taken for more


@dataclass(frozen=True, eq=False)
class SeedLuck:
    """Of each run `[K]`: the variance of its figure from which seeds were drawn, as it was estimated.

    `noise` is the variance that single images alone give between its seeds, over S like `variance`, and `freedom` the
    degrees of freedom of the estimate. Runs whose estimate is `pooled` share it.
    """

    variance: Values
    noise: Values
    freedom: Values
    pooled: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: Sequence[Scores]) -> SeedLuck:
        """Three seeds say little of their own spread, so it is pooled: the median over runs (of two their mean), which
        a run that trains well with some seeds only does not move. Such a run, whose seeds differ by more than would
        happen once in a thousand by the pooled variance, has its own. Of runs with a single seed it is the others'; 0
        where no run has several.
        """
        seeds = np.array([s.seeds for s in scores], np.float64)
        several = [s for s in scores if s.seeds > 1]
        pooled, freedom = _pooled(several)
        own = np.array([s.seeds > 1 and _alone(s, pooled) for s in scores], np.bool_)
        noise = float(np.mean([s.within_seeds for s in several])) if several else 0.0
        return cls(
            np.where(own, [s.between_seeds - s.within_seeds for s in scores], pooled) / seeds,
            np.where(own, [s.within_seeds for s in scores], noise) / seeds,
            np.where(own, seeds - 1, freedom),
            ~own,
        )

    def drawn(self, rng: np.random.Generator, draws: int) -> NDArray[np.float32]:
        """What such seeds would make of their variance if it is as estimated, float32 `[K, draws]`: a figure may be far
        from its standard error since that is too small (Student 1908)."""
        found = np.zeros((len(self.variance), draws), np.float32)
        known = np.flatnonzero(self.variance > 0)
        if not len(known):
            return found
        shared = known[self.pooled[known]]
        if len(shared):
            found[shared] = self._again(shared, _spread(rng, self.freedom[shared[0]], draws))
        for run in known[~self.pooled[known]]:
            found[run] = self._again(np.array([run]), _spread(rng, self.freedom[run], draws))
        return found

    def _again(self, runs: NDArray[np.int64], spread: Values) -> Values:
        both = (self.variance + self.noise)[runs, None] * spread
        found: Values = np.maximum(both - self.noise[runs, None], 0)
        return found


def seeds_differ(scores: Sequence[Scores]) -> bool:
    """Whether the seeds of these runs differ by more than their luck with single images does in 95% of such boards."""
    several = [s for s in scores if s.seeds > 1]
    moved = [s for s in several if s.within_seeds > 0]
    if len(moved) < len(several) and any(s.between_seeds > 0 for s in several if s.within_seeds <= 0):
        return True
    ratio = sum((s.seeds - 1) * s.between_seeds / s.within_seeds for s in moved)
    return bool(moved) and bool(ratio > chi2.ppf(SURE, sum(s.seeds - 1 for s in moved)))


def _pooled(several: Sequence[Scores]) -> tuple[float, float]:
    """The variance of one seed's figure, and how many degrees of freedom it has."""
    if not several:
        return 0.0, 1.0
    own = np.array([s.seeds - 1 for s in several], np.float64)
    if len(several) < 3:
        return max(0.0, float(np.mean([s.between_seeds - s.within_seeds for s in several]))), float(own.sum())
    middle = [s.between_seeds / (chi2.median(s.seeds - 1) / (s.seeds - 1)) for s in several]
    return max(0.0, float(np.median(np.array(middle) - [s.within_seeds for s in several]))), float(own @ of_median(own))


def of_median(freedom: Values) -> Values:
    """What share of the degrees of freedom that a mean of variances of so many each has, their median has: 0.37 of two
    seeds each, 0.48 of three, 0.64 of very many. A median of K varies by 1 / (4 K f^2), f the density there (Cramer
    1946, 28.5), a mean by 2 `freedom` / K."""
    middle = chi2.median(freedom)
    found: Values = 8 * (middle * chi2.pdf(middle, freedom)) ** 2 / freedom
    return found


def _alone(one: Scores, pooled: float) -> bool:
    freedom = one.seeds - 1
    return bool(one.between_seeds > (pooled + one.within_seeds) * chi2.ppf(RARE, freedom) / freedom)


def _spread(rng: np.random.Generator, freedom: float, draws: int) -> Values:
    found: Values = rng.chisquare(freedom, draws) / freedom
    return found
