"""A sweep's file: what is wrong in it is one error that names the key, before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featcache.errors import OptionsError
from featcache.options.loading import load_options
from heads.search import load_sweep
from heads.search.search_space import make_space
from heads.search.sweep_options import SweepOptions, sweep_schema

ROOT = Path(__file__).parents[3]
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.json"))

RATE = "training.learning_rate"
RATES = {"low": 1e-5, "high": 1e-2, "log": True}
BASE = {
    "experiment_name": "run",
    "model": {"backbone": "resnet18", "classifier_dims": ["auto", 16, 4]},
    "data": {"path": "demo:digits"},
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A sweep's file: a sound one, with `changes`."""

    def make(**changes: Any) -> Path:
        file = tmp_path / "search.json"
        file.write_text(json.dumps({"base": BASE, "space": {RATE: RATES}, **changes}))
        return file

    return make


def test_a_sound_sweep_and_its_defaults(write: Write) -> None:
    sweep, base = load_sweep(write())
    assert (sweep.name, sweep.sampler, sweep.batch_size, sweep.trials) == ("search", "tpe", 8, None)
    assert [load_sweep(write(sampler="random", **own))[0].batch_size for own in ({}, {"batch": 5})] == [32, 5]
    assert sweep.objectives == ("val_top3",)
    assert base == BASE
    assert load_sweep(write(trials=5), trials=7)[0].trials == 7
    assert load_sweep(write(name="other"))[0].name == "other"


def test_a_name_of_null_is_that_of_the_file(write: Write) -> None:
    assert load_sweep(write(name=None))[0].name == "search"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trails": 5}, ["'trails'", "known here: name, base, space, sampler, trials"]),
        ({"space": {}}, ["space", "at least 1"]),
        ({"space": {RATE: []}}, [RATE, "no choices"]),
        ({"space": {RATE: [0.1, 0.01, 0.1]}}, [RATE, "twice"]),
        ({"space": {RATE: {"low": 2.0, "high": 1.0}}}, [RATE, "low is 2 and high is 1", "expected low < high"]),
        ({"space": {RATE: {"low": 1.0, "high": 1.0}}}, [RATE, "expected low < high"]),
        ({"space": {RATE: {"low": 0.0, "high": 1.0, "log": True}}}, [RATE, "needs low > 0"]),
        ({"space": {RATE: {"low": 0.1, "high": 1.0, "log": True, "step": 0.1}}}, [RATE, "step does not go"]),
        ({"space": {RATE: {"low": 0.1, "hihg": 1.0}}}, [RATE, "hihg", "known here: low, high, log, step, points"]),
        ({"sampler": "grid"}, [RATE, "add points or step"]),
        ({"space": {RATE: {**RATES, "points": 3}}}, [RATE, "points", "only a grid"]),
        ({"sampler": "spsa", "objective": ["val_top1", "latency_ms"]}, ["spsa", "one objective", "nsga2"]),
        ({"sampler": "cmaes", "objective": ["val_top1", "latency_ms"]}, ["cmaes", "one objective", "nsga2"]),
        ({"objective": ["macs", "macs"]}, ["objective", "twice"]),
        ({"objective": "top3"}, ["objective", "val_top3"]),
        ({"sampler": "anneal"}, ["sampler", "'tpe'", "'spsa'"]),
        ({"trials": 0}, ["trials", "greater than or equal to 1"]),
        ({"batch": 0}, ["batch", "greater than or equal to 1"]),
        ({"name": "../up"}, ["name", "no plain folder name"]),
        ({"base": "nowhere.json"}, ["base", "no file nowhere.json", "configs/base.json"]),
    ],
)
def test_a_bad_sweep_is_one_error_that_names_the_key(write: Write, changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionsError) as caught:
        load_sweep(write(**changes))
    message = str(caught.value)
    assert "search.json" in message
    for word in words:
        assert word in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"space": {RATE: {"low": 2.0, "high": 1.0}}},
        {"space": {RATE: {"low": 1.0, "high": 2.0, "hihg": 1.0}}},
        {"space": {RATE: 0.1}},
        {"objective": "top3"},
        {"base": 3},
    ],
)
def test_one_fault_is_said_once_and_in_the_users_words(write: Write, changes: dict[str, Any]) -> None:
    with pytest.raises(OptionsError) as caught:
        load_sweep(write(**changes))
    message = str(caught.value)
    assert "function-after" not in message
    assert "Range]" not in message
    assert ";" not in message


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"training.learning_rat": [0.1]}, ["'training.learning_rat'", "did you mean 'training.learning_rate'"]),
        ({"learning_rate": [0.1]}, ["'learning_rate'", "did you mean 'training.learning_rate'"]),
        ({"model.learning_rate": [0.1]}, ["'model.learning_rate'", "did you mean 'training.learning_rate'"]),
        ({"training.seed": [1, 2]}, ["training.seed cannot be searched", "`seeds`"]),
        ({"training.seeds": [1, 2]}, ["training.seeds cannot be searched", "`seeds`"]),
        ({"training.unfreeze_schedule": [None]}, ["cannot be searched", "frozen"]),
        ({"training.optimizer": ["adamw", "lion"]}, ["training.optimizer", "'adamw', 'adam' or 'sgd'", '"lion"']),
        ({"training.epochs": [10, 0]}, ["training.epochs", "greater than or equal to 1", "got 0"]),
        ({"training.epochs": {"low": 0, "high": 9}}, ["training.epochs", "greater than or equal to 1", "got 0"]),
        ({"training.epochs": {"low": 1.5, "high": 9}}, ["training.epochs", "got 1.5"]),
        ({"model.dropout": {"low": 0.0, "high": 1.0}}, ["model.dropout", "less than 1", "got 1"]),
        ({"training.optimizer": {"low": 1.0, "high": 2.0}}, ["training.optimizer", "'adamw'"]),
        ({"model.classifier_dims": [["auto", "auto", "auto"]]}, ["classifier_dims", "first and the last"]),
        ({"training.epochs": [0], "model.dropout": [2.0]}, ["training.epochs", "model.dropout"]),
    ],
)
def test_what_the_options_do_not_allow_is_no_choice(write: Write, space: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(OptionsError) as caught:
        make_space(*load_sweep(write(space=space)))
    for word in words:
        assert word in str(caught.value)


def test_a_bad_base_is_said_to_be_one(write: Write) -> None:
    bad = {**BASE, "training": {"learning_rat": 1}}
    with pytest.raises(OptionsError, match=r"base.*did you mean 'training\.learning_rate'"):
        make_space(*load_sweep(write(base=bad)))


def test_a_base_file_lies_here_or_beside_the_sweep(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(base="base.json")
    (tmp_path / "base.json").write_text(json.dumps({**BASE, "experiment_name": "beside"}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert load_sweep(file)[1]["experiment_name"] == "beside"
    Path("base.json").write_text(json.dumps({**BASE, "experiment_name": "here"}))
    assert load_sweep(file)[1]["experiment_name"] == "here"


@pytest.mark.parametrize(
    ("text", "words"), [("{", "JSON"), ("[]", "expected an object"), ('{"base": {}, "base": {}}', "twice")]
)
def test_what_is_no_json_object(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(OptionsError, match=words):
        load_sweep(tmp_path / "s.json")
    with pytest.raises(OptionsError, match="no such file"):
        load_sweep(tmp_path / "t.json")


def test_the_options_of_one_run_are_no_sweep(write: Write) -> None:
    with pytest.raises(OptionsError, match=r"search\.json.*`featcache sweep .*search\.json`"):
        load_options(write())


def test_the_schema_is_fresh() -> None:
    shipped = json.loads((ROOT / "configs" / "sweep.schema.json").read_text(encoding="utf-8"))
    assert shipped == json.loads(json.dumps(sweep_schema()))
    assert set(shipped["properties"]) == {*SweepOptions.model_fields, "$schema"}


@pytest.mark.parametrize("file", SWEEPS, ids=lambda p: p.name)
def test_every_shipped_sweep_loads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # base files are named relative to it
    sweep, base = load_sweep(file)
    assert set(make_space(sweep, base).distributions) == set(sweep.space)
    document = json.loads(file.read_text())
    if isinstance(document["base"], str):
        assert (ROOT / document["base"]).is_file()
    assert (file.parent / document["$schema"]).resolve() == ROOT / "configs" / "sweep.schema.json"


def test_sweeps_are_shipped() -> None:
    assert len(SWEEPS) >= 3
