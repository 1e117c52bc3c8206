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
from featcache.statistics.sample_size import ROUNDING as NONE
from featcache.statistics.sample_size import fewest_that_tell, images_needed
from featcache.statistics.scores import Scores, Values
from featcache.statistics.seed_luck import SeedLuck
from featcache.statistics.sign_flips import largest_leads

ENDLESS = 1e3  # standard errors: of draws that leave nothing to estimate an error from
ROUNDING = 1e-4  # what the same figures differ by, drawn in float32: of few images many draws are exactly what was seen
MOST = 1000  # runs whose joint distribution is drawn; beyond, Bonferroni's bound, far wider where errors are rare


class JointComparison:
    """K runs compared in one or several metrics, larger better: `scores[metric][k]`.

    The statistic is the largest studentised difference over all pairs and metrics (Tukey's range; max-type as in Romano
    and Wolf 2005). Its distribution if all were equal is drawn by flipping units, the same for all runs
    (`largest_leads`). Seeds are drawn for each run alone, with their pooled variance (`SeedLuck`).
    """

    def __init__(self, scores: Mapping[str, Sequence[Scores]]) -> None:
        self.metrics = tuple(scores)
        self._scores = {metric: tuple(of) for metric, of in scores.items()}
        first = self._scores[self.metrics[0]]
        self.runs = len(first)
        self.units = min((len(set(s.units)) for s in first), default=0)
        self._means = {m: np.array([s.mean for s in of]) for m, of in self._scores.items()}
        self._luck = {m: SeedLuck.of(of) for m, of in self._scores.items()}
        self._seeds = {m: luck.variance for m, luck in self._luck.items()}

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
        return self._told(metric, np.full(self.runs, self.critical))

    def _told(self, metric: str, critical: Values) -> NDArray[np.bool_]:
        """Whether each run is ahead of each other `[K, K]`, by more than the other's `critical` `[K]` standard errors
        (`_limits`)."""
        means, luck = self._means[metric], self._seeds[metric]
        within = self._influence[metric] @ self._influence[metric].T
        own = np.diag(within)
        images = own[:, None] + own - 2 * within
        half = critical * np.sqrt(np.maximum(images + luck[:, None] + luck, 0))
        half = np.where(images > NONE, half, np.hypot(half, critical**2 / (self.units + critical**2)))
        can = ~np.array([self._too_few(metric, float(c)) for c in critical], np.bool_)
        found: NDArray[np.bool_] = (means[:, None] - means > half) & can
        return found

    def interval(self, metric: str, one: int, other: int) -> tuple[float, float]:
        """The limits of a difference that hold jointly for all pairs and metrics.

        Where no image tells the two apart they are those of none of so many (Tango 1998): never of width 0. Of shares
        they lie between -1 and 1, and hold 0 where there are so few images that not even if all told the same way it
        would be a lead (McNemar 1947: by luck, 5 images all tell for the same one of two in 1 of 16 cases).
        """
        return self._limits(metric, one, other, self.critical)

    def images_to_tell(self, metric: str, one: int, other: int) -> int:
        """How many more images would show the difference that was seen, in 80% of the cases; 0 where it is shown
        already or none can be said (`images_needed`), as of a single unit, which says nothing of others."""
        if self.ahead(metric, one, other) or self.ahead(metric, other, one):
            return 0
        needed = self._images_needed(metric, one, other, self._seeds_of(metric, one, other))
        return max(1, needed - self.units) if needed else 0

    def seeds_hide(self, metric: str, one: int, other: int) -> bool:
        """Whether it is the luck of the seeds for which no number of images can be said."""
        seeds = self._seeds_of(metric, one, other)
        hidden = not self._images_needed(metric, one, other, seeds)
        return hidden and self._images_needed(metric, one, other, 0.0) > 0

    def _seeds_of(self, metric: str, one: int, other: int) -> float:
        return float(self._seeds[metric][[one, other]].sum())

    def _images_needed(self, metric: str, one: int, other: int, seeds: float) -> int:
        if self.units < 2:
            return 0
        apart = self._influence[metric][one] - self._influence[metric][other]
        mean = self.difference(metric, one, other)
        # Of few images what must be exceeded is larger than of the many that are asked for.
        tail = max(float(norm.sf(self.critical)), (1 - CONFIDENCE) / 2 / self._comparisons)
        fewest: float = fewest_that_tell(tail)
        if self._bounded(metric) and mean:
            fewest /= min(1.0, abs(mean))  # no more than that share is sure to tell
        return images_needed(mean, float(apart @ apart), seeds, self.units, _normal(tail), fewest)

    def _limits(self, metric: str, one: int, other: int, critical: float) -> tuple[float, float]:
        mean = self.difference(metric, one, other)
        half = critical * self.standard_error(metric, one, other)
        apart = self._influence[metric][one] - self._influence[metric][other]
        if apart @ apart <= NONE:
            half = math.hypot(half, self._of_none(critical))
        if not self._bounded(metric):
            half = max(half, abs(mean) * self._of_none(critical))  # an image more may tell nothing of it
            return mean - half, mean + half
        if self._too_few(metric, critical):
            half = max(half, abs(mean))
        return max(-1.0, mean - half), min(1.0, mean + half)

    def _bounded(self, metric: str) -> bool:
        """Whether its figures are shares: where any run's are, those of all others are too, as they may be known."""
        return any(one.bounded for one in self._scores[metric])

    def _of_none(self, critical: float) -> float:
        return critical**2 / (self.units + critical**2)

    def _too_few(self, metric: str, critical: float) -> bool:
        few = self.units <= critical**2 if self._drawn is None else critical > ENDLESS
        return few and self._bounded(metric)

    @cached_property
    def critical(self) -> float:
        """What a studentised difference must exceed to be a lead."""
        return self._bound if self._drawn is None else _exceeded(self._drawn.max(axis=1), 1 - CONFIDENCE)

    @cached_property
    def _bound(self) -> float:
        """Bonferroni's, of so many comparisons."""
        return student(_normal((1 - CONFIDENCE) / 2 / self._comparisons), self.units)

    @property
    def _comparisons(self) -> int:
        return max(1, len(self.metrics) * self.runs * (self.runs - 1) // 2)

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
        beaten = self._told(last, self._critical_of_best)
        found = np.zeros(self.runs, np.bool_)
        found[[k for k in rest if not beaten[rivals, k].any()]] = True
        return found

    @cached_property
    def _critical_of_best(self) -> Values:
        """Of each run `[K]`: what another must be ahead of it by, if it were the best."""
        tail = (1 - CONFIDENCE) / 2
        if self._drawn is None:
            z = _normal(tail / (len(self.metrics) * max(1, self.runs - 1)))
            return np.full(self.runs, student(z, self.units))
        return np.array([_exceeded(drawn, tail) for drawn in self._drawn.T])

    @cached_property
    def _influence(self) -> dict[str, Values]:
        """What each unit moves each run's figure by, `[K, U]`: 0 where a run did not answer it."""
        if self._same_units:  # by what is drawn, which a large group must not seem to explain
            tables = {m: self._figures(of) for m, of in self._scores.items()}
            return {m: table - table.mean(axis=1, keepdims=True) for m, table in tables.items()}
        moved = {m: [(one.units, one.added - one.added.mean()) for one in of] for m, of in self._scores.items()}
        return {m: self._by_unit(rows) for m, rows in moved.items()}

    def _by_unit(self, rows: Sequence[tuple[tuple[str, ...], Values]]) -> Values:
        """Sums over the images of each unit, `[K, U]`."""
        known: dict[tuple[str, ...], NDArray[np.int64]] = {}
        table = np.zeros((len(rows), len(self._places)))
        for number, (units, values) in enumerate(rows):
            if units not in known:
                known[units] = np.array([self._places[u] for u in units])
            table[number] = np.bincount(known[units], values, table.shape[1])
        return table

    @cached_property
    def _places(self) -> dict[str, int]:
        """The number of each unit that any run answered."""
        names = {u for of in self._scores.values() for one in of for u in one.units}
        return {name: number for number, name in enumerate(sorted(names))}

    @cached_property
    def _drawn(self) -> Values | None:
        """In each draw `[draws, K]` how far each run is ahead at most, studentised, if all were equal; None where there
        are too many runs."""
        if not 2 <= self.runs <= MOST:
            return None
        tables = [self._figures(of) if self._same_units else self._influence[m] for m, of in self._scores.items()]
        return largest_leads(tables, [self._luck[m] for m in self.metrics])

    @cached_property
    def _same_units(self) -> bool:
        """Whether all runs answered the same images."""
        every = {one.units for of in self._scores.values() for one in of}
        return len({tuple(sorted(units)) for units in every}) == 1

    def _figures(self, scores: Sequence[Scores]) -> Values:
        """What each unit adds to each run's figure, `[K, U]`."""
        return self._by_unit([(one.units, one.added) for one in scores])


def _exceeded(drawn: Values, share: float) -> float:
    """What so large a share of the draws exceeds at most, and no less than a single pair must."""
    return max(_normal((1 - CONFIDENCE) / 2), float(np.quantile(drawn, 1 - share, method="higher")) * (1 + ROUNDING))


def _normal(tail: float) -> float:
    return float(norm.isf(tail))
