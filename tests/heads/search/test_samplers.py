"""Samplers by name: each has one entry, and an installed package may bring its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, write_digits
from optuna.samplers import BaseSampler, RandomSampler

from featcache.errors import OptionsError, PluginError
from heads.search import Sampler, SamplerSetup, SweepOptions, load_sweep, run_sweep, sweep_schema
from heads.search.samplers import GROUP, SAMPLERS, find_sampler, sampler_names
from heads.search.sweep_result import SweepResult

HERE = Path(__file__).stem  # entry points of these tests are named `test_samplers:object`
RATE = "training.learning_rate"
RATES = {"low": 1e-4, "high": 1e-1, "log": True}
Install = Callable[[dict[str, str]], None]

made: list[SamplerSetup] = []


def remembering(setup: SamplerSetup) -> BaseSampler:
    made.append(setup)
    return RandomSampler(setup.fresh_seed)


DARTS = Sampler("darts thrown at random", remembering, several_objectives=False, most_combinations=2)
LATTICE = Sampler("points in their order", remembering, grid=True)
no_sampler = "darts"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have packages installed that bring these entry points."""

    def make(entries: dict[str, str]) -> None:
        points = [EntryPoint(name, value, GROUP) for name, value in entries.items()]
        monkeypatch.setattr("featcache.plugins.entry_points", lambda *, group: points if group == GROUP else [])

    return make


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., SweepResult]:
    """Run a small sweep."""
    write_digits(tmp_path / "digits", {"train": 6, "val": 3, "test": 2})

    def run(**changes: Any) -> SweepResult:
        base = {
            "experiment_name": "run",
            "model": {"backbone": TINY, "input_size": 32, "classifier_dims": ["auto", 8, "auto"], "pretrained": False},
            "data": {"path": str(tmp_path / "digits"), "batch_size": 16, "workers": 1},
            "training": {"epochs": 2},
            "cache": {"dir": str(tmp_path / "cache")},
            "profile": {"iterations": 2, "warmup": 0},
        }
        written = {"name": "s", "base": base, "space": {RATE: RATES}, "trials": 5, "batch": 2, **changes}
        sweep = SweepOptions.model_validate(written)
        return run_sweep(sweep, base, results_dir=tmp_path / "results", device="cpu", allow_custom=True)

    return run


def read(tmp_path: Path, sampler: Any, **changes: Any) -> SweepOptions:
    file = tmp_path / "search.json"
    file.write_text(json.dumps({"base": {}, "space": {RATE: RATES}, "sampler": sampler, **changes}))
    return load_sweep(file)[0]


def test_every_sampler_says_in_a_line_how_it_chooses() -> None:
    for name, sampler in SAMPLERS.items():
        assert sampler.meaning and "\n" not in sampler.meaning, name
        assert find_sampler(name) is sampler
    assert len({sampler.meaning for sampler in SAMPLERS.values()}) == len(SAMPLERS)


def test_what_a_sweep_may_name_are_the_samplers_there_are(install: Install, tmp_path: Path) -> None:
    install({})
    assert sampler_names() == tuple(SAMPLERS)
    assert sweep_schema()["properties"]["sampler"]["enum"] == list(SAMPLERS)
    for name, sampler in SAMPLERS.items():
        domain = {**RATES, "points": 3} if sampler.grid else RATES
        assert read(tmp_path, name, space={RATE: domain}).sampler == name
    shipped = (*SAMPLERS, "darts")
    install({"darts": "no_such_package:DARTS"})
    assert sampler_names() == shipped
    assert sweep_schema()["properties"]["sampler"]["enum"] == list(SAMPLERS)  # whatever is installed where it is made


@pytest.mark.parametrize("wrong", ["anneal", 3, None, ["tpe"]])
def test_an_unknown_name_gives_the_known_ones_and_imports_nothing(install: Install, tmp_path: Path, wrong: Any) -> None:
    install({"darts": "no_such_package:DARTS"})
    names = ", ".join(f"'{name}'" for name in SAMPLERS) + " or 'darts'"
    with pytest.raises(OptionsError, match=rf"search\.json: sampler: input should be {names}\.$"):
        read(tmp_path, wrong)


def test_a_sweep_with_a_sampler_of_an_installed_package(install: Install, sweep: Callable[..., SweepResult]) -> None:
    install({"darts": f"{HERE}:DARTS", "broken": "no_such_package:X"})
    made.clear()
    first = sweep(sampler="darts", trials=3)
    result = sweep(sampler="darts")
    assert [t.number for t in result.trials] == [0, 1, 2, 3, 4]
    assert [t.params for t in result.trials[:3]] == [t.params for t in first.trials]
    assert len({t.params[RATE] for t in result.trials}) == 5  # nothing is drawn twice
    assert [(setup.finished, setup.batch, setup.seed) for setup in made] == [(0, 2, 0), (3, 2, 0)]
    assert set(made[0].distributions) == {RATE} == set(made[0].start)
    assert json.loads((result.folder / "sweep.json").read_text())["options"]["sampler"] == "darts"


def test_a_grid_of_an_installed_package(install: Install, sweep: Callable[..., SweepResult]) -> None:
    install({"lattice": f"{HERE}:LATTICE"})
    space = {RATE: {**RATES, "points": 3}, "training.optimizer": ["adamw", "sgd"]}
    result = sweep(sampler="lattice", space=space, trials=None)
    points = {(t.params[RATE], t.params["training.optimizer"]) for t in result.trials}
    assert len(points) == len(result.trials) == 6


def test_what_a_sampler_cannot_do_is_said_before_any_work(
    install: Install, sweep: Callable[..., SweepResult], tmp_path: Path
) -> None:
    install({"darts": f"{HERE}:DARTS", "lattice": f"{HERE}:LATTICE"})
    with pytest.raises(OptionsError, match=r"darts follows one objective: take grid, random, .*nsga2\b"):
        read(tmp_path, "darts", objective=["val_top1", "macs"])
    with pytest.raises(OptionsError, match="a grid needs its points"):
        read(tmp_path, "lattice")
    with pytest.raises(OptionsError, match=r"darts climbs for each combination .* there are 3, more than 2"):
        sweep(sampler="darts", space={RATE: [0.1, 0.01, 0.001]})


def test_a_package_that_cannot_be_used_fails_the_sweeps_that_name_it(install: Install, tmp_path: Path) -> None:
    install({"darts": "no_such_package:X", "other": f"{HERE}:no_sampler", "tpe": f"{HERE}:DARTS"})
    assert read(tmp_path, "random").sampler == "random"
    for name, words in (
        ("darts", r"'darts' in 'featcache\.samplers': no_such_package:X cannot be imported \(ModuleNotFoundError"),
        ("other", r"test_samplers:no_sampler is str; expected a heads\.search\.samplers\.Sampler\.$"),
        ("tpe", r"'tpe' in 'featcache\.samplers': the name is taken\. Give the entry point another one\.$"),
    ):
        with pytest.raises(OptionsError, match=rf"search\.json: .*{words}"):
            read(tmp_path, name)
        with pytest.raises(PluginError, match=words):
            find_sampler(name)
