"""SPSA as an Optuna sampler: gradient ascent whose gradient needs two trials, however many options are searched.

Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation" (IEEE
Transactions on Automatic Control 37:3). Here several chains climb at once, from the best of some starts. Like Optuna's
other samplers it keeps nothing but what the trials of the study carry, so a study that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from heads.search.option_places import OptionPlaces, Place
from heads.search.point_keys import point_key
from heads.search.spsa_climb import MARK, Climb, Step

STARTS = 0.25  # of the trials: points on their own, of which the best are climbed from
FEWEST_STARTS, MOST_STARTS = 2, 64
CHAINS = 3  # that climb at once
PAIRS = 2  # of a chain in an iteration, where a batch has room
VARIED = 6  # trials after which the best point is tried with another of its choices
TRIES = 32  # for a point that is not known yet


class SPSASampler(BaseSampler):
    """Simultaneous perturbation over ranges, in several chains.

    The base and points spread over the space (Sobol) are the starts. The best few are climbed from: an iteration
    perturbs every range of a chain's centre by plus and by minus the same random signs and moves along the difference
    of the two trials, from the best point of the chain. A chain that stands still gives its place to the next start.
    Choices are those of a chain's start; now and then the best point is tried with another one, as a start of its own.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], start: Mapping[str, Any], seed: int, trials: int) -> None:
        """`trials`: how many there are to be in all."""
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._places = OptionPlaces(self._space)
        self._start = self._places.place(start)
        self._seed = seed
        self._starts = int(np.clip(round(STARTS * trials), FEWEST_STARTS, MOST_STARTS))
        self._iterations = max(1.0, (trials - self._starts) / (2 * CHAINS))
        self._independent = RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is searched, from the first trial on."""
        del study, trial
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point: a start, or one side of a pair around the centre of its chain."""
        del search_space
        past = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        climb = Climb(self._places, past, sign, self._iterations)
        step = self._next(climb, trial.number)
        study._storage.set_trial_system_attr(trial._trial_id, MARK, step.mark())
        return self._places.params(step.point)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What is not searched here, at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _next(self, climb: Climb, number: int) -> Step:
        last = climb.steps[climb.trials[-1].number] if climb.trials else None
        if last is not None and last.side == 1:
            return replace(last, side=-1)
        known = {point_key({k: t.params[k] for k in self._space if k in t.params}) for t in climb.trials}
        rng = np.random.default_rng([self._seed, number])
        starts = [n for n, step in climb.steps.items() if not step.side]
        if len(starts) < self._starts or not climb.chains or not self._places.ranges:
            return self._spread(number, len(starts), known)
        if self._places.choices and number - starts[-1] > VARIED:
            varied = self._varied(climb, number, known, rng)
            if varied is not None:
                return varied
        return self._pair(climb, known, rng) or self._spread(number, len(starts), known)

    def _spread(self, number: int, starts: int, known: set[str]) -> Step:
        """The base, or the next point of a sequence that leaves no large gaps."""
        place = self._start
        if starts and self._space:
            sequence = qmc.Sobol(len(self._space), rng=np.random.default_rng(self._seed))
            sequence.fast_forward(starts)
            drawn = (self._places.spread(sequence.random(1)[0].tolist()) for _ in range(TRIES))
            place = next((p for p in drawn if self._key(p) not in known), self._start)
        return _alone(number, place)

    def _varied(self, climb: Climb, number: int, known: set[str], rng: np.random.Generator) -> Step | None:
        """The best point with another of its choices: of those that fewest trials had."""
        best = climb.place(climb.best(list(climb.values)))
        tried = [climb.place(t.number).choices for t in climb.trials]
        others = [
            (*best.choices[:i], choice, *best.choices[i + 1 :])
            for i, count in enumerate(self._places.choices.values())
            for choice in range(count)
            if choice != best.choices[i]
        ]
        order = sorted(rng.permutation(len(others)).tolist(), key=lambda i: tried.count(others[i]))
        new = (Place(best.ranges, others[i]) for i in order)
        place = next((p for p in new if self._key(p) not in known), None)
        return None if place is None else _alone(number, place)

    def _pair(self, climb: Climb, known: set[str], rng: np.random.Generator) -> Step | None:
        """Plus of the next pair: of the best chains that move, the one with fewest pairs under way."""
        signs = 2 ** (len(self._places.ranges) - 1)  # that differ other than in plus and minus
        moving = [c for c in climb.chains if not climb.stands_still(c)]
        moving.sort(key=lambda c: (-climb.values[climb.best(climb.chains[c])], c))
        room = {c: n for c in moving if (n := self._under_way(climb, c)) < min(PAIRS, signs)}
        leading = [c for c in moving[:CHAINS] if c in room] or list(room)
        for chain in sorted(leading, key=lambda c: (room[c], moving.index(c))):
            step = climb.next_pair(chain)
            used = [climb.steps[n].signs for n in climb.chains[chain] if climb.steps[n].iteration == step.iteration]
            for _ in range(TRIES):
                drawn = rng.choice([-1.0, 1.0], size=len(step.centre))
                made = replace(step, signs=tuple(drawn.tolist()), side=1)
                ends = {self._key(made.point), self._key(replace(made, side=-1).point)}
                again = made.signs in used or tuple((-drawn).tolist()) in used
                if not again and len(ends) == 2 and not ends & known:
                    return made
        return None

    def _under_way(self, climb: Climb, chain: int) -> int:
        return sum(climb.steps[n].side == 1 and not climb.over(n) for n in climb.chains[chain])

    def _key(self, place: Place) -> str:
        return point_key(self._places.params(place))


def _alone(number: int, place: Place) -> Step:
    return Step(number, centre=tuple(place.ranges.tolist()), signs=(0.0,) * len(place.ranges), choices=place.choices)
