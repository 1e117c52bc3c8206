"""Runs compared with each other at once, so that all that is said of leads and ties holds jointly."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.statistics import JointComparison
from heads.leaderboard.compared_run import ComparedRun, Difference, unmeasured_difference


class RunComparison:
    """Some runs in the metrics that they are ranked by, the most important first."""

    def __init__(self, runs: Sequence[ComparedRun], order: Sequence[str]) -> None:
        self.runs, self.order = tuple(runs), tuple(order)
        # One without a figure would leave no limit of any other standing: it is behind them all, and no part of this.
        known = [one for one in runs if all(one.measured(metric) for metric in order)]
        self._place = {one.name: number for number, one in enumerate(known)}
        self._joint = JointComparison({m: [one.scores(m) for one in known] for m in order}) if known else None

    def difference(self, one: ComparedRun, other: ComparedRun, metric: str) -> Difference:
        """One less another, with the limits that hold jointly for all of these runs."""
        if one is other:
            return Difference(0, 0, 0)
        beyond = unmeasured_difference(one, other, metric)
        if beyond is not None:
            return beyond
        joint, places = self._of(one, other)
        return Difference(joint.difference(metric, *places), *joint.interval(metric, *places))

    def same(self, one: ComparedRun, other: ComparedRun, metric: str) -> bool:
        """Whether neither is shown to be ahead of the other in a metric."""
        return one is other or self.difference(one, other, metric).tied

    def tied(self, one: ComparedRun, other: ComparedRun) -> bool:
        """Whether no metric tells two runs apart."""
        return all(self.same(one, other, metric) for metric in self.order)

    def ordered(self) -> list[ComparedRun]:
        """Best first: of the runs that tie with the best in the first metric the one that is best in the next, then
        those that no metric tells from it, then the same with the rest."""
        first, then = self.order[0], self.order[-1]
        rest = sorted(self.runs, key=lambda c: (-c.goodness(first), *c.order(then)))
        found: list[ComparedRun] = []
        while rest:
            best = min((c for c in rest if self.same(c, rest[0], first)), key=lambda c: c.order(then))
            tied = [c for c in rest if c is not best and self.tied(best, c)]
            found += [best, *sorted(tied, key=lambda c: c.order(then))]
            taken = {best.name, *(c.name for c in tied)}
            rest = [c for c in rest if c.name not in taken]
        return found

    def ranks(self, ordered: Sequence[ComparedRun]) -> list[int]:
        """The rank of each, from 1: that of the one before where the two that begin with it are tied."""
        found: list[int] = []
        for place, one in enumerate(ordered):
            tied = found and self.tied(one, ordered[found[-1] - 1])
            found.append(found[-1] if tied else place + 1)
        return found

    def may_be_best(self, among: Sequence[ComparedRun]) -> frozenset[str]:
        """The names of those that may be the best of some runs, best first: at 95% the best is among them.

        The first is one of them whatever it is beaten by: with fine-tuned runs above it, it need not be the best of
        `among` alone. One without a figure is none, unless all are without.
        """
        known = [one for one in among if one.name in self._place]
        if self._joint is None or not known:
            return frozenset(one.name for one in among)
        may = self._joint.may_be_best(self.order, [self._place[one.name] for one in known])
        return frozenset(one.name for one in known if may[self._place[one.name]] or one is among[0])

    def images_to_tell(self, one: ComparedRun, other: ComparedRun, metric: str) -> int:
        """How many more validation images would tell two apart, if they differ as much as seen; 0 where no number can
        be said."""
        if not {one.name, other.name} <= self._place.keys():
            return 0
        joint, places = self._of(one, other)
        return joint.images_to_tell(metric, *places)

    def seeds_hide(self, one: ComparedRun, other: ComparedRun, metric: str) -> bool:
        """Whether none can be said since the luck of the seeds would remain."""
        if not {one.name, other.name} <= self._place.keys():
            return False
        joint, places = self._of(one, other)
        return joint.seeds_hide(metric, *places)

    def _of(self, one: ComparedRun, other: ComparedRun) -> tuple[JointComparison, tuple[int, int]]:
        assert self._joint is not None
        return self._joint, (self._place[one.name], self._place[other.name])
