"""SPSA as an Optuna sampler: gradient ascent whose gradient needs two trials, however many options are searched.

Spall 1992, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation" (IEEE
Transactions on Automatic Control 37:3); gains as in Spall 1998, "Implementation of the simultaneous perturbation
algorithm" (IEEE Transactions on Aerospace and Electronic Systems 34:3). Like Optuna's other samplers it keeps nothing
but what the trials of the study carry, so a study that was stopped goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

ALPHA, GAMMA = 0.602, 0.101  # Spall's exponents: how fast steps and perturbations shrink
PERTURBATION = 0.12  # c, of a range's width
STEP = 0.25  # of a range's width: the first step's length in each option, when all its pairs agree
MARK = "spsa"  # system attribute: [chain, iteration, sign, perturbation, centre]

Vector = NDArray[np.float64]


class SPSASampler(BaseSampler):
    """Simultaneous perturbation over ranges; choices take turns, each combination of them climbing on its own.

    An iteration perturbs every range at once, by plus and by minus the same random signs, and moves along the
    difference of the two trials. Trials that are asked for before earlier ones are told join the iteration as further
    pairs, whose gradients are averaged. In place of the objective stands its rank among the chain's trials, so that the
    length of a step depends neither on the objective's unit nor on how flat it is.
    """

    def __init__(self, space: Mapping[str, BaseDistribution], start: Mapping[str, Any], seed: int) -> None:
        self._space = {k: d for k, d in space.items() if not d.single()}
        self._start = dict(start)
        self._seed = seed
        self._independent = RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is searched, from the first trial on."""
        del study, trial
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point: one side of a pair around the centre of its chain."""
        ranges = {k: d for k, d in search_space.items() if not isinstance(d, CategoricalDistribution)}
        choices = {k: d for k, d in search_space.items() if isinstance(d, CategoricalDistribution)}
        past = [t for t in study.get_trials(deepcopy=False) if MARK in t.system_attrs]
        chains = int(np.prod([len(d.choices) for d in choices.values()], dtype=np.int64))
        counts = np.bincount([t.system_attrs[MARK][0] for t in past], minlength=chains)
        # A pair is completed before another chain has its turn.
        open_pairs = np.flatnonzero(counts % 2)
        chain = int(open_pairs[0] if len(open_pairs) else counts.argmin())
        own = [t for t in past if t.system_attrs[MARK][0] == chain]
        iteration, centre = self._centre(study, own, ranges)
        if len(own) % 2:
            _, iteration, _, signs, centre_list = own[-1].system_attrs[MARK]
            delta, centre, sign = np.array(signs), np.array(centre_list), -1
        else:
            rng = np.random.default_rng([self._seed, chain, len(own)])
            delta, sign = rng.choice([-1.0, 1.0], size=len(ranges)), 1
        mark = [chain, iteration, sign, delta.tolist(), centre.tolist()]
        study._storage.set_trial_system_attr(trial._trial_id, MARK, mark)
        point = np.clip(centre + sign * _perturbation(iteration) * delta, 0, 1)
        params: dict[str, Any] = {k: _from_unit(d, u) for (k, d), u in zip(ranges.items(), point, strict=True)}
        for key, distribution in choices.items():
            chain, index = divmod(chain, len(distribution.choices))
            params[key] = distribution.choices[index]
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What is not searched here, at random."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _centre(
        self, study: Study, own: Sequence[FrozenTrial], ranges: Mapping[str, BaseDistribution]
    ) -> tuple[int, Vector]:
        """The iteration that the chain is in, and the point that it has come to."""
        if not own:
            return 0, np.array([_to_unit(d, self._start.get(k)) for k, d in ranges.items()])
        last = own[-1].system_attrs[MARK]
        iteration, centre = int(last[1]), np.array(last[4])
        pairs = [t for t in own if t.system_attrs[MARK][1] == iteration]
        if len(own) % 2 or not all(t.state.is_finished() for t in pairs):
            return iteration, centre
        gradient = self._gradient(study, own, pairs)
        rate = STEP / (iteration + 1) ** ALPHA
        return iteration + 1, np.clip(centre + rate * gradient, 0, 1)

    def _gradient(self, study: Study, own: Sequence[FrozenTrial], pairs: Sequence[FrozenTrial]) -> Vector:
        """Mean over pairs of (rank of plus - rank of minus) x signs, ranks from 0 to 1 among the chain's trials; of
        several pairs the direction alone."""
        values = {t.number: t.value for t in own if t.state == TrialState.COMPLETE and t.value is not None}
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        order: list[float] = sorted({sign * v for v in values.values()})
        worst = -1.0 / max(1, len(order) - 1)  # what failed or was pruned ranks below all

        def rank(trial: FrozenTrial) -> float:
            if trial.number not in values:
                return worst
            return float(order.index(sign * values[trial.number])) / max(1, len(order) - 1)

        gradients = [
            (rank(plus) - rank(minus)) * np.array(plus.system_attrs[MARK][3])
            for plus, minus in zip(pairs[0::2], pairs[1::2], strict=True)
        ]
        mean = np.asarray(np.mean(gradients, axis=0))
        if mean.size and len(gradients) > 1 and (largest := np.abs(mean).max()) > 0:
            mean = mean / largest  # pairs disagree about most options, and their mean would shrink with their number
        return mean


def _perturbation(iteration: int) -> float:
    return float(PERTURBATION / (iteration + 1) ** GAMMA)


def _to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Where a value lies in its range, 0 to 1; the middle for none, or for one outside."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return 0.5
    low, high, x = float(distribution.low), float(distribution.high), float(value)
    if distribution.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return (x - low) / (high - low)


def _from_unit(distribution: BaseDistribution, unit: float) -> float | int:
    """The value at a place of its range, on its grid where it has one."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value
