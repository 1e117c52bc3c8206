"""Many runs compared at once: who is ahead of whom, and which may be the best, so that all of it holds at 95%.

With 14 equal networks the first of them is ahead of the last by two standard errors more often than not. So what
counts as a lead is not what would be rare for one pair, but what would be rare for the largest of all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from featcache.statistics.intervals import CONFIDENCE, student
from featcache.statistics.sample_size import images_needed
from featcache.statistics.scores import Scores, Values, seed_variances

DRAWS = 10_000  # of the joint distribution: the critical value moves by about 1% between seeds
NONE = 1e-15  # a variance of a difference that is rounding: a single image of 10 million has 1e-14
MOST = 200  # runs whose joint distribution is drawn; beyond, Bonferroni's bound is within 4% of it


class JointComparison:
    """K runs compared in one or several metrics, larger better: `scores[metric][k]`.

    The statistic is the largest studentised difference over all pairs and metrics (Tukey's range; max-type as in Romano
    and Wolf 2005). Its distribution is that of the joint multiplier bootstrap (Chernozhukov, Chetverikov and Kato
    2013): each draw weighs the units anew, the same for all runs, which given the data is exactly a normal
    distribution with their joint covariance, so that it is drawn from that; quantiles are widened to Student's t. Seeds
    are drawn for each run alone, with their pooled variance (`seed_variances`).
    """

    def __init__(self, scores: Mapping[str, Sequence[Scores]]) -> None:
        self.metrics = tuple(scores)
        self._scores = {metric: tuple(of) for metric, of in scores.items()}
        first = self._scores[self.metrics[0]]
        self.runs = len(first)
        self.units = min((len(set(s.units)) for s in first), default=0)
        self._means = {m: np.array([s.mean for s in of]) for m, of in self._scores.items()}
        self._seeds = {m: seed_variances(of) / np.array([s.seeds for s in of]) for m, of in self._scores.items()}

    def difference(self, metric: str, one: int, other: int) -> float:
        """The figure of one run less that of another."""
        return float(self._means[metric][one] - self._means[metric][other])

    def standard_error(self, metric: str, one: int, other: int) -> float:
        """Of their difference."""
        apart = self._influence[metric][one] - self._influence[metric][other]
        return math.sqrt(float(apart @ apart) + float(self._seeds[metric][[one, other]].sum()))

    def ahead(self, metric: str, one: int, other: int) -> bool:
        """Whether one is shown to be ahead of another; every such statement of one comparison holds jointly."""
        return one != other and self.interval(metric, one, other)[0] > 0

    def leads(self, metric: str) -> NDArray[np.bool_]:
        """`ahead` of every pair `[K, K]`, a row for each that may be ahead."""
        means, luck = self._means[metric], self._seeds[metric]
        within = self._influence[metric] @ self._influence[metric].T
        own = np.diag(within)
        images = own[:, None] + own - 2 * within
        half = self.critical * np.sqrt(np.maximum(images + luck[:, None] + luck, 0))
        half = np.where(images > NONE, half, np.hypot(half, self._of_none(self.critical)))
        found: NDArray[np.bool_] = means[:, None] - means > half
        return np.zeros_like(found) if self._too_few(metric, self.critical) else found

    def interval(self, metric: str, one: int, other: int) -> tuple[float, float]:
        """The limits of a difference that hold jointly for all pairs and metrics.

        Where no image tells the two apart they are those of none of so many (Tango 1998): never of width 0. Of shares
        they hold 0 where there are so few images that not even if all told the same way it would be a lead (McNemar
        1947: `units` of them are as many standard errors as the root of their number).
        """
        return self._limits(metric, one, other, self.critical)

    def images_to_tell(self, metric: str, one: int, other: int) -> int:
        """How many more images would show the difference that was seen, in 80% of the cases; 0 where none can be said
        (`images_needed`)."""
        seeds = float(self._seeds[metric][[one, other]].sum())
        return max(0, self._images_needed(metric, one, other, seeds) - self.units)

    def seeds_hide(self, metric: str, one: int, other: int) -> bool:
        """Whether it is the luck of the seeds for which no number of images can be said."""
        return not self.images_to_tell(metric, one, other) and self._images_needed(metric, one, other, 0.0) > 0

    def _images_needed(self, metric: str, one: int, other: int, seeds: float) -> int:
        apart = self._influence[metric][one] - self._influence[metric][other]
        mean = self.difference(metric, one, other)
        return images_needed(mean, float(apart @ apart), seeds, self.units, self.critical)

    def _limits(self, metric: str, one: int, other: int, critical: float) -> tuple[float, float]:
        mean = self.difference(metric, one, other)
        half = critical * self.standard_error(metric, one, other)
        apart = self._influence[metric][one] - self._influence[metric][other]
        if apart @ apart <= NONE:
            half = math.hypot(half, self._of_none(critical))
        if self._too_few(metric, critical):
            half = max(half, abs(mean))
        return mean - half, mean + half

    def _of_none(self, critical: float) -> float:
        return critical**2 / (self.units + critical**2)

    def _too_few(self, metric: str, critical: float) -> bool:
        return self.units <= critical**2 and self._scores[metric][0].bounded

    @cached_property
    def critical(self) -> float:
        """What a studentised difference must exceed to be a lead."""
        tail = (1 - CONFIDENCE) / 2
        if self.runs < 2:
            return student(_normal(tail), self.units)
        pairs = len(self.metrics) * self.runs * (self.runs - 1) // 2
        if self._drawn is None or pairs == 1:
            return student(_normal(tail / pairs), self.units)
        return student(max(_normal(tail), float(np.quantile(self._drawn.max(axis=1), CONFIDENCE))), self.units)

    def may_be_best(self, order: Sequence[str] = (), among: Sequence[int] | None = None) -> NDArray[np.bool_]:
        """Which runs `[K]` may be the best of all, or of those `among`: the best is among them at 95%.

        Multiple comparisons with the best (Hsu 1981; Edwards and Hsu 1983): a run is out where another is ahead of it
        by more than would be rare (2.5%, so that with two runs it is the two-sided test) if it were the best: each run
        has a critical value of its own, over its comparisons with all others. In several metrics that is said of the
        last of `order`, among those that each metric before does not tell (`ahead`) from its best: so there is always
        one, and the run that is best in the last metric among those is one of them.
        """
        order = order or self.metrics
        rest = list(range(self.runs)) if among is None else list(among)
        for metric in order[:-1]:
            first = max(rest, key=lambda k: self._means[metric][k], default=0)
            rest = [k for k in rest if not self.ahead(metric, first, k)]
        last = order[-1]
        best = max(rest, key=lambda k: self._means[last][k], default=0)
        rivals = rest if self._drawn is not None else [best]
        found = np.zeros(self.runs, np.bool_)
        found[[k for k in rest if not any(self._beats(last, by, k) for by in rivals)]] = True
        return found

    def _beats(self, metric: str, by: int, one: int) -> bool:
        """Whether one run is ahead of another by more than would be rare if that were the best."""
        return by != one and self._limits(metric, by, one, self._critical_of_best[one])[0] > 0

    @cached_property
    def _critical_of_best(self) -> Values:
        """Of each run `[K]`: what another must be ahead of it by, if it were the best."""
        tail = (1 - CONFIDENCE) / 2
        if self._drawn is None:
            z = _normal(tail / (len(self.metrics) * max(1, self.runs - 1)))
            return np.full(self.runs, student(z, self.units))
        quantiles = np.quantile(self._drawn, 1 - tail, axis=0)
        return np.array([student(max(_normal(tail), float(q)), self.units) for q in quantiles])

    @cached_property
    def _influence(self) -> dict[str, Values]:
        """What each unit moves each run's figure by, `[K, U]`: 0 where a run did not answer it."""
        names = sorted({u for of in self._scores.values() for s in of for u in set(s.units)})
        place = {name: number for number, name in enumerate(names)}
        known: dict[tuple[str, ...], NDArray[np.int64]] = {}
        found = {}
        for metric, of in self._scores.items():
            table = np.zeros((self.runs, len(names)))
            for row, one in zip(table, of, strict=True):
                if one.units not in known:
                    known[one.units] = np.array([place[u] for u in one.units])
                row += np.bincount(known[one.units], one.influence, len(names))
            found[metric] = table
        return found

    @cached_property
    def _drawn(self) -> Values | None:
        """In each draw `[DRAWS, K]` how far each run is ahead at most, studentised, if all were equal; None where there
        are too many runs."""
        if not 2 <= self.runs <= MOST:
            return None
        every = np.concatenate([self._influence[m] for m in self.metrics])
        covariance = every @ every.T + np.diag(np.concatenate([self._seeds[m] for m in self.metrics]))
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        normal = np.random.default_rng([self.runs, len(self.metrics)]).standard_normal((DRAWS, len(every)))
        moved = (normal @ root.T).astype(np.float32)
        largest = np.zeros((DRAWS, self.runs), np.float32)
        for number in range(len(self.metrics)):
            own = slice(number * self.runs, (number + 1) * self.runs)
            block, spread = moved[:, own], covariance[own, own]
            variance = np.diag(spread)[:, None] + np.diag(spread) - 2 * spread
            scale = np.sqrt(np.maximum(variance, 1e-15)).astype(np.float32)
            for k in range(self.runs):
                np.maximum(largest[:, k], ((block[:, [k]] - block) / scale[k]).max(axis=1), out=largest[:, k])
        return largest.astype(np.float64)


def _normal(tail: float) -> float:
    return float(norm.isf(tail))
