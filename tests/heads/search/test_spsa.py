"""SPSA climbs smooth functions, however many trials are asked for at once, and goes on where it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from heads.search.spsa import MARK, SPSASampler

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
) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, sampler=SPSASampler(space, START, seed))
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


def reached(study: optuna.Study, space: Mapping[str, BaseDistribution] = SPACE) -> dict[str, Any]:
    """The point that it has come to: midway between the next two trials."""
    plus, minus = study.ask(dict(space)).params, study.ask(dict(space)).params
    middle = {k: (plus[k] + minus[k]) / 2 for k in ("a", "b", "count")}
    return {**middle, "rate": math.sqrt(plus["rate"] * minus["rate"])}


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_it_climbs_to_the_optimum(batch: int) -> None:
    assert distance(START) > 1.2
    ends = [distance(reached(climb(new_study(seed), quality, 240, batch))) for seed in range(4)]
    assert max(ends) < 0.3  # measured: 0.12; with batches of 8 it is 0.64


def test_it_is_no_worse_than_chance_in_batches_as_large_as_the_default() -> None:
    def nearest(study: optuna.Study) -> float:
        return min(distance(t.params) for t in climb(study, quality, 192, 32).trials)

    for seed in range(3):
        chance = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed))
        assert nearest(new_study(seed)) < nearest(chance) + 0.1  # measured: 0.72 against 0.12


@pytest.mark.parametrize("batch", [1, 8])
def test_it_climbs_down_as_it_climbs_up(batch: int) -> None:
    up = climb(new_study(), quality, 48, batch)
    down = climb(new_study(direction="minimize"), lambda p: -quality(p), 48, batch)
    assert [t.params for t in up.trials] == [t.params for t in down.trials]
    assert distance(reached(down)) < distance(START)


def test_neither_the_unit_nor_the_scale_of_the_objective_matters() -> None:
    plain = climb(new_study(), quality, 40, 4)
    other = climb(new_study(), lambda p: 1e-9 * quality(p) + 5, 40, 4)
    assert [t.params for t in plain.trials] == [t.params for t in other.trials]


@pytest.mark.parametrize("batch", [1, 8])
def test_failed_trials_do_not_break_it(batch: int) -> None:
    study = climb(new_study(), quality, 240, batch, fails=lambda number: number % 5 == 3)
    assert distance(reached(study)) < 0.6 * distance(START)
    nothing = climb(new_study(), quality, 16, batch, fails=lambda number: True)
    assert len(nothing.trials) == 16


def test_pruned_trials_rank_below_all() -> None:
    study = new_study()
    plus, minus = study.ask(dict(SPACE)), study.ask(dict(SPACE))
    study.tell(plus, -100.0)
    minus.report(1e9, 0)
    study.tell(minus, state=TrialState.PRUNED)
    mark = study.trials[0].system_attrs[MARK]
    study.ask(dict(SPACE))
    after = study.trials[-1].system_attrs[MARK]
    moved = np.array(after[4]) - np.array(mark[4])
    assert (moved * np.array(mark[3]) >= 0).all()  # to where plus lay, or held by an edge
    assert np.abs(moved).max() > 0.1


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("trials", [16, 21, 22])
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


def test_every_combination_of_choices_climbs_on_its_own() -> None:
    space = {**SPACE, "kind": CategoricalDistribution(["x", "y"]), "wide": CategoricalDistribution([True, False])}
    best = {
        ("x", True): BEST,
        ("x", False): {"a": 0.3, "b": 1.0, "rate": 1e-4, "count": 15},
        ("y", True): {"a": 0.5, "b": 0.0, "rate": 1e-3, "count": 10},
        ("y", False): {"a": 0.9, "b": -1.5, "rate": 1e-3, "count": 4},
    }
    study = new_study(1, space)
    climb(study, lambda p: -distance(p, best[p["kind"], p["wide"]]), 800, 8, space)
    for (kind, wide), optimum in best.items():
        own = [t for t in study.trials if t.params["kind"] == kind and t.params["wide"] is wide]
        assert len(own) == 200
        assert len({t.system_attrs[MARK][0] for t in own}) == 1
        nearest = min(distance(t.params, optimum) for t in own[-20:])
        assert nearest < 0.35
    turns = [t.system_attrs[MARK][0] for t in study.trials]
    for end in range(1, len(turns)):
        counts = [turns[:end].count(chain) for chain in range(4)]
        assert max(counts) - min(counts) <= 2
        if end > 64:
            break


def test_choices_alone_take_turns() -> None:
    space = {"kind": CategoricalDistribution(["x", "y", "z"])}
    study = climb(new_study(0, space), lambda p: float(p["kind"] == "y"), 18, 1, space)
    assert sorted(t.params["kind"] for t in study.trials) == ["x"] * 6 + ["y"] * 6 + ["z"] * 6


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


def test_it_starts_at_the_base_options() -> None:
    inside = SPSASampler(SPACE, {"a": 0.5, "b": 0.5, "rate": 1e-3, "count": 9}, 0)
    middle = reached(optuna.create_study(direction="maximize", sampler=inside))
    assert middle == {"a": pytest.approx(0.5), "b": pytest.approx(0.5), "rate": pytest.approx(1e-3), "count": 9}
