"""SPSA climbs smooth functions, however many trials are asked for at once, and goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from heads.search.point_keys import point_key
from heads.search.spsa import SPSASampler
from heads.search.spsa_climb import NARROWEST, SEED_VALUES, WIDEST, step_of

SPACE: dict[str, BaseDistribution] = {
    "a": FloatDistribution(0.0, 1.0),
    "b": FloatDistribution(-2.0, 2.0),
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "count": IntDistribution(0, 20),
}
START = {"a": 0.1, "b": 1.5, "rate": 1e-5, "count": 18}
BEST = {"a": 0.7, "b": -0.8, "rate": 1e-2, "count": 6}
Value = Callable[[Mapping[str, Any]], float]


def distance(params: Mapping[str, Any], best: Mapping[str, Any] = BEST) -> float:
    """From the optimum, each option in widths of its range."""
    return math.sqrt(
        (params["a"] - best["a"]) ** 2
        + ((params["b"] - best["b"]) / 4) ** 2
        + (math.log10(params["rate"] / best["rate"]) / 4) ** 2
        + ((params["count"] - best["count"]) / 20) ** 2
    )


def quality(params: Mapping[str, Any]) -> float:
    return -(distance(params) ** 2)


def new_study(
    seed: int = 0,
    space: Mapping[str, BaseDistribution] = SPACE,
    direction: str = "maximize",
    trials: list[FrozenTrial] | None = None,
    planned: int = 96,
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, sampler=SPSASampler(space, START, seed, planned))
    study.add_trials(trials or [])
    return study


def climb(
    study: optuna.Study,
    value: Value,
    trials: int,
    batch: int,
    space: Mapping[str, BaseDistribution] = SPACE,
    fails: Callable[[int], bool] = lambda number: False,
) -> optuna.Study:
    for _ in range(trials // batch):
        for trial in [study.ask(dict(space)) for _ in range(batch)]:
            if fails(trial.number):
                study.tell(trial, state=TrialState.FAIL)
            else:
                study.tell(trial, value(trial.params))
    return study


def nearest(study: optuna.Study) -> float:
    return min(distance(t.params) for t in study.trials)


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_it_comes_nearer_than_chance_however_many_are_asked_for_at_once(batch: int) -> None:
    found, chance = [], []
    for seed in range(3):
        found.append(nearest(climb(new_study(seed), quality, 64, batch)))
        other = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed))
        chance.append(nearest(climb(other, quality, 64, batch)))
    assert np.mean(found) < 0.8 * np.mean(chance)  # measured: 0.4 to 0.7


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_trials_are_as_many_points_and_many_steps(batch: int) -> None:
    trials = climb(new_study(), quality, 64, batch, SPACE).trials
    assert len({point_key(t.params) for t in trials}) == 64
    steps = [step_of(t) for t in trials]
    pairs = [(s.chain, s.iteration) for s in steps if s.side == 1]
    assert len(pairs) >= (16 if batch == 32 else 18)
    assert len({chain for chain, _ in pairs}) >= 3
    for plus, minus in pairwise(steps):
        if plus.side == 1:  # a pair is whole, and its middle is the chain's centre
            assert minus.side == -1
            middle = (np.array(plus.point.ranges) + np.array(minus.point.ranges)) / 2
            assert middle == pytest.approx(np.array(plus.centre), abs=1e-9)


@pytest.mark.parametrize("batch", [1, 8])
def test_it_climbs_down_as_it_climbs_up(batch: int) -> None:
    up = climb(new_study(), quality, 48, batch)
    down = climb(new_study(direction="minimize"), lambda p: -quality(p), 48, batch)
    assert [t.params for t in up.trials] == [t.params for t in down.trials]


def test_neither_the_unit_nor_the_scale_of_the_objective_matters() -> None:
    plain = climb(new_study(), quality, 40, 4)
    other = climb(new_study(), lambda p: 2.0**-30 * quality(p), 40, 4)
    assert [t.params for t in plain.trials] == [t.params for t in other.trials]


@pytest.mark.parametrize("batch", [1, 8])
def test_failed_trials_do_not_break_it(batch: int) -> None:
    study = climb(new_study(), quality, 96, batch, fails=lambda number: number % 5 == 3)
    assert nearest(study) < 0.3
    nothing = climb(new_study(), quality, 32, batch, fails=lambda number: True)
    assert len({point_key(t.params) for t in nothing.trials}) == 32


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("ends", ["pruned", "both pruned", "failed"])
def test_a_pair_that_did_not_come_to_its_end_is_compared_where_it_can_be(direction: str, ends: str) -> None:
    sign = 1.0 if direction == "maximize" else -1.0
    study = new_study(planned=8, direction=direction)
    for number in range(2):
        study.tell(study.ask(dict(SPACE)), sign * (number + 1.0))  # the second start is the one that is climbed from
    plus, minus = study.ask(dict(SPACE)), study.ask(dict(SPACE))
    for epoch in range(3):
        plus.report(sign * 0.2, epoch)
    if ends != "failed":
        minus.report(sign * 0.4, 0)  # better than plus there
    study.tell(plus, **({"state": TrialState.PRUNED} if ends == "both pruned" else {"values": sign * 0.9}))
    study.tell(minus, state=TrialState.FAIL if ends == "failed" else TrialState.PRUNED)
    first = step_of(study.trials[2])
    study.ask(dict(SPACE))
    following = step_of(study.trials[-1])
    assert (following.chain, following.iteration, following.side) == (first.chain, 1, 1)
    along = np.array(following.velocity) * np.array(first.signs)
    assert (along > 0).all() if ends == "failed" else (along < 0).all()


def test_the_perturbation_follows_the_measured_noise() -> None:
    def widths(noise: float) -> list[float]:
        study, rng = new_study(), np.random.default_rng(0)
        for _ in range(9):
            for trial in [study.ask(dict(SPACE)) for _ in range(8)]:
                value = quality(trial.params)
                seeds = [value + noise * float(rng.normal()) for _ in range(3)]
                trial.set_user_attr(SEED_VALUES, seeds)
                study.tell(trial, float(np.mean(seeds)))
        steps = [step_of(t) for t in study.trials[-16:]]
        return [s.width * (s.iteration + 1) ** 0.101 for s in steps if s.side]

    quiet, loud = widths(1e-4), widths(10.0)
    assert quiet == pytest.approx([NARROWEST] * len(quiet))
    assert loud == pytest.approx([WIDEST] * len(loud))


@pytest.mark.parametrize(("batch", "trials"), [(1, 17), (1, 40), (2, 46), (8, 16), (8, 64)])
def test_a_study_that_is_rebuilt_goes_on_with_the_same_point(batch: int, trials: int) -> None:
    study = climb(new_study(3), quality, trials, batch)
    again = new_study(3, trials=[t for t in study.trials if t.state.is_finished()])
    assert [study.ask(dict(SPACE)).params for _ in range(4)] == [again.ask(dict(SPACE)).params for _ in range(4)]


def test_a_rebuilt_study_ends_where_the_other_does() -> None:
    whole = climb(new_study(), quality, 64, 8)
    half = climb(new_study(), quality, 32, 8)
    assert [t.params for t in climb(new_study(trials=half.trials), quality, 32, 8).trials] == [
        t.params for t in whole.trials
    ]


def test_trials_of_an_earlier_version_are_starts() -> None:
    old = [optuna.trial.create_trial(params=BEST, distributions=SPACE, value=0.0, system_attrs={"spsa": [0, 0, 1]})]
    old += climb(optuna.create_study(direction="maximize"), quality, 20, 1).trials
    study = climb(new_study(planned=60, trials=old), quality, 16, 8)
    assert step_of(study.trials[21]).chain == 0  # the best of them
    assert len({point_key(t.params) for t in study.trials}) == 37


def test_choices_go_where_values_are_good() -> None:
    space = {**SPACE, "kind": CategoricalDistribution(["x", "y", "z"]), "wide": CategoricalDistribution([True, False])}

    def value(params: Mapping[str, Any]) -> float:
        return quality(params) - 0.5 * (params["kind"] != "y") - 0.5 * params["wide"]

    study = climb(new_study(1, space), value, 96, 8, space)
    assert (study.best_params["kind"], study.best_params["wide"]) == ("y", False)
    counts = [(t.params["kind"], t.params["wide"]) for t in study.trials]
    assert len(set(counts)) == 6
    assert counts.count(("y", False)) > 96 / 4  # by chance 16


def test_choices_alone_are_gone_through_once() -> None:
    space = {"kind": CategoricalDistribution(list("abcdef")), "wide": CategoricalDistribution([True, False])}
    study = climb(new_study(0, space), lambda p: float(p["kind"] == "y"), 12, 1, space)
    assert len({point_key(t.params) for t in study.trials}) == 12


def test_every_point_lies_in_its_range_and_on_its_steps() -> None:
    space = {
        "rate": FloatDistribution(1e-5, 1e-1, log=True),
        "wide": FloatDistribution(0.0, 0.9, step=0.3),
        "count": IntDistribution(4, 16, step=4),
        "size": IntDistribution(1, 100, log=True),
        "only": CategoricalDistribution(["x"]),
    }
    study = climb(new_study(0, space), lambda p: p["rate"] + p["count"], 60, 4, space)
    for trial in study.trials:
        assert trial.params["count"] in {4, 8, 12, 16}
        assert round(trial.params["wide"], 9) in {0.0, 0.3, 0.6, 0.9}
        assert 1e-5 <= trial.params["rate"] <= 1e-1
        assert trial.params["only"] == "x"
        assert isinstance(trial.params["size"], int)
    assert len({point_key(t.params) for t in study.trials}) == 60


def test_it_starts_at_the_base_options() -> None:
    space = {**SPACE, "kind": CategoricalDistribution(["x", "y"])}
    start = {"a": 0.5, "b": 0.5, "rate": 1e-3, "count": 9, "kind": "y"}
    study = optuna.create_study(direction="maximize", sampler=SPSASampler(space, start, 0, 60))
    assert study.ask(dict(space)).params == pytest.approx(start)
