"""`featcache sweep` as a user meets it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import featcache
from conftest import TINY

from heads.search.sweep_options import sweep_schema

Config = Callable[..., dict[str, Any]]
RATE = "training.learning_rate"


@pytest.fixture
def write(tmp_path: Path, config: Config) -> Callable[..., Path]:
    """A sweep's file around a quick run."""

    def make(**changes: Any) -> Path:
        file = tmp_path / "search.json"
        base = config(model={"backbone": TINY}, training={"epochs": 2})
        space = {RATE: {"low": 1e-4, "high": 1e-1, "log": True}, "model.dropout": {"low": 0, "high": 0.5}}
        file.write_text(json.dumps({"base": base, "space": space, "trials": 6, "batch": 3, **changes}))
        return file

    return make


def test_a_sweep_ends_with_its_leading_trials(tmp_path: Path, write: Callable[..., Path]) -> None:
    results = tmp_path / "results"
    done = featcache("sweep", write(), "--results-dir", results, "--allow-custom")
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for words in ("trial val top-1 [95%] val top-3 val loss", "learning_rate", "dropout", "importance for val_top3"):
        assert words in said
    assert re.search(r"6 trials \(\d complete, \d pruned, 0 failed\), 6 of them now", said)
    assert re.search(r"Optuna \d+\.\d s \(\d+\.\d%\)", said)
    best = results / "sweeps" / "search" / "best.json"
    assert "".join(f"{best}; `featcache train {best}`".split()) in "".join(done.output.split())
    trained = featcache("train", best, "--results-dir", results, "--allow-custom")
    assert trained.exit_code == 0, trained.output
    assert (results / "search-best" / "summary.json").exists()
    assert featcache("report", "--results-dir", results).exit_code == 0


def test_a_sweep_goes_on_and_begins_anew(tmp_path: Path, write: Callable[..., Path]) -> None:
    arguments = ("--results-dir", tmp_path / "results", "--allow-custom", "-q")

    def trials() -> list[dict[str, str]]:
        table = tmp_path / "results" / "sweeps" / "search" / "trials.csv"
        return list(csv.DictReader(table.read_text().splitlines()))

    told = json.loads(featcache("sweep", write(), *arguments, "--trials", "2", "--json").stdout)
    assert all(
        0 < one["params"][RATE] < 1 and {"trial", "val_top3", "latency_ms"} <= set(one) for one in told["trials"]
    )
    assert told["folder"] == str(tmp_path / "results" / "sweeps" / "search") and {"importances", "said"} <= set(told)
    first = trials()
    assert len(first) == 2
    done = featcache("sweep", write(), *arguments)
    assert "6 trials" in done.output
    assert "4 of them now" in " ".join(done.output.split())
    assert trials()[:2] == first
    other = featcache("sweep", write(), *arguments, "--set", "training.epochs=3")
    assert other.exit_code == 2, other.output
    assert "--fresh" in other.output
    assert featcache("sweep", write(), *arguments, "--set", "training.epochs=3", "--fresh").exit_code == 0
    base = json.loads((tmp_path / "results" / "sweeps" / "search" / "sweep.json").read_text())["options"]["base"]
    assert base["training"]["epochs"] == 3


def test_cache_dir_overrides_the_base(tmp_path: Path, write: Callable[..., Path]) -> None:
    done = featcache(
        "sweep", write(trials=1), "--cache-dir", tmp_path / "other cache", "--results-dir", tmp_path / "r", "-q",
        "--allow-custom",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "other cache").glob("*.h5"))


def test_the_table_shows_what_the_trials_are_in_order_of(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = featcache(
        "sweep", write(objective="val_auroc", trials=2), "--results-dir", tmp_path / "results", "--allow-custom"
    )
    assert done.exit_code == 0, done.output
    with (tmp_path / "results" / "sweeps" / "search" / "trials.csv").open() as file:
        best = max(csv.DictReader(file), key=lambda t: float(t["value_val_auroc"]))
    (heading,) = (line.split() for line in done.output.splitlines() if "val top-1 [95%]" in line)
    assert heading[:2] == ["trial", "val_auroc"]
    assert [best["trial"], f"{float(best['value_val_auroc']):.5g}"] in [s.split()[:2] for s in done.output.splitlines()]


def test_a_front_is_a_folder_that_train_takes(tmp_path: Path, write: Callable[..., Path]) -> None:
    results = tmp_path / "results"
    done = featcache("sweep", write(objective=["val_loss", "params"]), "--results-dir", results, "--allow-custom")
    assert done.exit_code == 0, done.output
    pareto = results / "sweeps" / "search" / "pareto"
    count = len(list(pareto.glob("*.json")))
    assert f"the {count} options of the Pareto front" in " ".join(done.output.split())
    trained = featcache("train", pareto, "--results-dir", results, "--allow-custom", "-q")
    assert trained.exit_code == 0, trained.output
    assert len(list(results.glob("search-*/summary.json"))) == count


@pytest.mark.parametrize(
    ("changes", "arguments", "words"),
    [
        ({"trails": 3}, [], "unknown key 'trails'"),
        ({"space": {"training.learning_rat": [1]}}, [], "did you mean 'training.learning_rate'"),
        ({"sampler": "spsa", "objective": ["val_top1", "macs"]}, [], "spsa follows one objective"),
        ({"base": "nowhere.json"}, [], "no file nowhere.json"),
        ({}, ["--set", "training.learning_rat=1"], "did you mean 'training.learning_rate'"),
        ({}, ["--set", "data.path=/no/such/folder"], "does not exist"),
        ({}, ["--device", "cuda:7"], "--device cuda:7"),
        ({}, ["--trials", "0"], "--trials"),
        ({"storage": "no url"}, ["--allow-custom"], "storage no url: cannot be opened"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(
    tmp_path: Path, write: Callable[..., Path], changes: dict[str, Any], arguments: list[str], words: str
) -> None:
    done = featcache("sweep", write(**changes), "--results-dir", tmp_path / "results", "-q", *arguments)
    assert done.exit_code == 2, done.output
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_a_sweep_without_any_result_is_exit_code_1(tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write(space={RATE: [1e30], "training.optimizer": ["sgd"], "model.dropout": {"low": 0.0, "high": 0.5}})
    done = featcache("sweep", file, "--results-dir", tmp_path / "results", "--allow-custom", "-q")
    assert done.exit_code == 1, done.output
    assert "none of 6 trials was completed" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.backbone=resnet19", "Nearest: resnet18"),
        ("model.classifier_dims=[99,16,4]", "gives 64 features"),
        ("model.classifier_dims=[64,16,7]", "has 4 classes"),
    ],
)
def test_a_base_that_no_trial_can_follow_fails_before_any(
    tmp_path: Path, write: Callable[..., Path], setting: str, words: str
) -> None:
    arguments = ("--results-dir", tmp_path / "results", "--allow-custom", "-q", "--set", setting)
    done = featcache("sweep", write(), *arguments)
    assert words in " ".join(done.output.split())
    assert done.exit_code == 2, done.output


def test_what_was_forgotten_is_made_good_by_the_next_call(tmp_path: Path, write: Callable[..., Path]) -> None:
    first = featcache("sweep", write(), "--results-dir", tmp_path / "results", "-q")
    assert "--allow-custom" in first.output
    second = featcache("sweep", write(), "--results-dir", tmp_path / "results", "-q", "--allow-custom")
    assert second.exit_code == 0, second.output


def test_train_sends_a_sweep_to_its_command(tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write()
    done = featcache("train", file, "--results-dir", tmp_path / "results")
    assert done.exit_code == 2
    assert f"`featcache sweep {file}`" in done.output


def test_the_schema_of_a_sweep() -> None:
    done = featcache("schema", "--sweep")
    assert done.exit_code == 0
    assert json.loads(done.output) == json.loads(json.dumps(sweep_schema()))
    assert json.loads(featcache("schema").output)["title"] != "featcache sweep"
