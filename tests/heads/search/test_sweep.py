"""`run_sweep`: from a space to trials, their tables and options that `featcache train` takes."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from conftest import TINY, write_digits
from optuna.trial import FrozenTrial, TrialState

from featcache.backbones import load_backbone
from featcache.errors import OptionsError, OutputError, RunError, UnknownBackboneError, WorkError
from featcache.options.loading import load_options
from featcache.options.model_options import ModelOptions
from heads import train_model
from heads.runs.run import Run
from heads.search import SweepOptions, run_sweep
from heads.search.samplers import SAMPLERS
from heads.search.search_space import make_space
from heads.search.spsa_climb import SEED_VALUES
from heads.search.study import SAME_AS, SweepStudy
from heads.search.sweep_result import SweepResult
from heads.search.trial_figures import Figures
from heads.search.trial_trainer import TrialTrainer

RATE = "training.learning_rate"
RATES = {"low": 1e-4, "high": 1e-1, "log": True}
SPACE: dict[str, Any] = {RATE: RATES, "model.dropout": {"low": 0.0, "high": 0.5}}
TWO = f"{TINY}+squeezenet1_1"


class Folders:
    """Sweeps around one set of base options; each test has results of its own, all share the cache."""

    def __init__(self, root: Path, results: Path) -> None:
        self.results = results
        self.base: dict[str, Any] = {
            "experiment_name": "run",
            "model": {"backbone": TINY, "input_size": 32, "classifier_dims": ["auto", 16, "auto"], "pretrained": False},
            "data": {"path": str(root / "digits"), "batch_size": 16, "workers": 1},
            "training": {"epochs": 3},
            "cache": {"dir": str(root / "cache"), "batch_size": 16},
            "profile": {"iterations": 2, "warmup": 0},
        }

    def __call__(
        self, *, fresh: bool = False, sections: dict[str, dict[str, Any]] | None = None, **changes: Any
    ) -> SweepResult:
        base = {k: {**v, **(sections or {}).get(k, {})} if isinstance(v, dict) else v for k, v in self.base.items()}
        written = {"name": "s", "space": SPACE, "sampler": "random", "trials": 12, "batch": 4, **changes}
        sweep = SweepOptions.model_validate({**written, "base": base})
        return run_sweep(sweep, base, results_dir=self.results, device="cpu", allow_custom=True, fresh=fresh)

    @property
    def folder(self) -> Path:
        return self.results / "sweeps" / "s"

    def rows(self, name: str = "trials.csv") -> list[dict[str, str]]:
        return list(csv.DictReader((self.folder / name).read_text().splitlines()))

    def train(self, file: Path) -> Run:
        return train_model(load_options(file), results_dir=self.results, device="cpu", allow_custom=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    write_digits(folder / "digits", {"train": 12, "val": 5, "test": 4})
    return folder


@pytest.fixture
def sweep(root: Path, tmp_path: Path) -> Folders:
    return Folders(root, tmp_path / "results")


def figures_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial was and came to."""
    return {"number": trial.number, "state": trial.state, "values": trial.values, **trial.params, **trial.user_attrs}


def every(result: SweepResult) -> list[dict[str, Any]]:
    return [figures_of(t) for t in result.trials]


def test_what_a_sweep_leaves_behind(sweep: Folders) -> None:
    result = sweep(seeds=2)
    assert result.folder == sweep.folder
    assert result.new == len(result.trials) == 12
    assert {p.name for p in sweep.folder.iterdir()} >= {
        "study.db",
        "trials.csv",
        "history.csv",
        "sweep.json",
        "best.json",
    }
    rows, history = sweep.rows(), sweep.rows("history.csv")
    assert [int(r["trial"]) for r in rows] == list(range(12)) == [int(r["trial"]) for r in history]
    kinds = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    assert [r["state"] for r in rows] == [kinds[t.state] for t in result.trials]
    for row, trial in zip(rows, result.trials, strict=True):
        assert float(row[RATE]) == trial.params[RATE]
        assert float(row["value_val_top3"]) == trial.values[0]
        assert int(row["outcomes"]) == 40  # 20 images, 2 seeds
    values = [float(r["best_val_top3"]) for r in history]
    assert values == sorted(values)
    assert values[-1] == max(t.values[0] for t in result.trials if t.state == TrialState.COMPLETE)
    (best,) = result.best
    assert best.values[0] == values[-1]
    document = json.loads((sweep.folder / "sweep.json").read_text())
    assert document["best"][0]["trial"] == best.number
    assert document["options"]["base"]["model"]["backbone"] == TINY
    assert set(result.seconds) == {"total", "extract", "train", "optuna"}
    assert set(result.importances) == set(SPACE)


@pytest.mark.parametrize("objective", ["val_top3", "val_loss"])
def test_the_best_options_give_the_best_figures_again(sweep: Folders, objective: str) -> None:
    result = sweep(objective=objective, seeds=2, pruner="none")
    (best,), (file,) = result.best, result.configs
    run = sweep.train(file)
    assert file.name == "best.json"
    assert run.folder.name == "s-best"
    assert run.metrics["val_loss"] == pytest.approx(best.user_attrs["val_loss"], abs=1e-3)
    for metric in ("val_top1", "val_top3"):
        assert abs(run.metrics[metric] - best.user_attrs[metric]) < 1.01 / best.user_attrs["outcomes"]
    performance = run.performance
    assert best.user_attrs["macs"] == performance["macs"]
    assert best.user_attrs["params"] == performance["params_backbone"] + performance["params_head"]


@pytest.mark.parametrize("sampler", [name for name, one in SAMPLERS.items() if not one.grid])
def test_every_sampler_completes_and_goes_on(sweep: Folders, sampler: str) -> None:
    space = {**SPACE, "model.classifier_dims": [["auto", "auto"], ["auto", 8, "auto"]]}
    first = sweep(sampler=sampler, space=space, trials=7, pruner="none")
    result = sweep(sampler=sampler, space=space, pruner="none")
    assert [t.state for t in result.trials] == [TrialState.COMPLETE] * 12
    assert every(result)[:7] == every(first)
    assert result.new == 5
    assert [t.params for t in result.trials[7:]] != [t.params for t in first.trials[:5]]  # it does not begin again
    assert {t.params["model.classifier_dims"] for t in result.trials} == {'["auto", "auto"]', '["auto", 8, "auto"]'}


GRID: dict[str, Any] = {RATE: {**RATES, "points": 4}, "model.classifier_dims": [["auto", "auto"], ["auto", 8, "auto"]]}


def test_a_grid_is_visited_once_and_whole(sweep: Folders) -> None:
    result = sweep(sampler="grid", space=GRID, trials=None, batch=3, pruner="none")
    points = [(t.params[RATE], t.params["model.classifier_dims"]) for t in result.trials]
    assert len(points) == len(set(points)) == 8
    assert {round(math.log10(rate), 6) for rate, _ in points} == {-4, -3, -2, -1}
    assert sweep(sampler="grid", space=GRID, trials=None, pruner="none").new == 0


def test_a_grid_that_stopped_visits_the_rest(sweep: Folders) -> None:
    first = sweep(sampler="grid", space=GRID, trials=3, batch=2, pruner="none")
    assert len(first.trials) == 3
    rest = sweep(sampler="grid", space=GRID, trials=100, batch=2, pruner="none")
    assert every(rest)[:3] == every(first)
    assert len({tuple(t.params.values()) for t in rest.trials}) == len(rest.trials) == 8


def test_a_grid_of_steps(sweep: Folders) -> None:
    space = {"model.dropout": {"low": 0.0, "high": 0.3, "step": 0.1}}
    result = sweep(sampler="grid", space=space, trials=None)
    assert sorted(t.params["model.dropout"] for t in result.trials) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_more_trials_go_on_and_fewer_change_nothing(sweep: Folders) -> None:
    first = sweep(trials=6)
    more = sweep(trials=10, batch=8)
    assert every(more)[:6] == every(first)
    assert (len(more.trials), more.new) == (10, 4)
    assert len(sweep.rows()) == 10
    fewer = sweep(trials=2)
    assert every(fewer) == every(more)
    assert fewer.new == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"space": {**SPACE, "model.dropout": {"low": 0.0, "high": 0.4}}},
        {"space": {RATE: RATES}},
        {"sections": {"training": {"epochs": 4}}},
        {"objective": "val_loss"},
        {"sampler": "tpe"},
        {"seeds": 2},
    ],
)
def test_another_sweep_under_the_same_name_is_refused(sweep: Folders, changes: dict[str, Any]) -> None:
    sweep(trials=1)
    table = (sweep.folder / "trials.csv").read_text()
    with pytest.raises(RunError, match=r"another sweep.*--fresh"):
        sweep(trials=2, **changes)
    assert (sweep.folder / "trials.csv").read_text() == table


def test_other_images_make_another_sweep(root: Path, sweep: Folders, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", {"train": 6, "val": 5, "test": 4})
    sweep.base["data"]["path"] = str(tmp_path / "digits")
    sweep(trials=2)
    next((tmp_path / "digits" / "train" / "digit 0").iterdir()).unlink()
    with pytest.raises(RunError, match="images were others"):
        sweep(trials=2)


def test_what_does_not_matter_may_change(sweep: Folders) -> None:
    first = sweep(trials=2)
    more = sweep(trials=4, pruner="none", sections={"cache": {"batch_size": 8}, "profile": {"iterations": 3}})
    assert every(more)[:2] == every(first)


def test_fresh_forgets(sweep: Folders) -> None:
    sweep(trials=6)
    again = sweep(trials=3, fresh=True, sections={"training": {"epochs": 2}})  # of another sweep, too
    assert (len(again.trials), again.new) == (3, 3)
    assert len(sweep.rows()) == 3


def started(sweep: Folders, tmp_path: Path, **changes: Any) -> subprocess.Popen[str]:
    """`featcache sweep` in a process of its own."""
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"base": sweep.base, "space": SPACE, "sampler": "random", "pruner": "none", **changes}))
    code = "import torch; torch.set_num_threads(1); from featcache.app.main import main; main()"
    arguments = ["sweep", file, "--results-dir", sweep.results, "--device", "cpu", "--allow-custom", "-q"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stored(sweep: Folders) -> int:
    """Trials in the database of a sweep that another process works on."""
    try:
        with sqlite3.connect(f"file:{sweep.folder / 'study.db'}?mode=ro", uri=True) as database:
            return int(database.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_a_killed_sweep_goes_on_and_one_process_works_on_it(sweep: Folders, tmp_path: Path) -> None:
    sections = {"training": {"epochs": 12}}
    sweep.base["training"]["epochs"] = 12
    process = started(sweep, tmp_path, trials=4000, batch=4)
    try:
        deadline = time.monotonic() + 60
        while stored(sweep) < 8 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(OutputError, match="another process works on this sweep"):
            sweep(trials=4000, pruner="none", sections=sections)
    finally:
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, said
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{sweep.folder / 'study.db'}")
    before = [figures_of(t) for t in study.trials]
    assert 8 <= len(before) < 4000
    assert all(t["state"] == TrialState.COMPLETE for t in before)  # none is left running
    wanted = len(before) + 5
    result = sweep(trials=wanted, pruner="none", sections=sections)
    assert (len(result.trials), result.new) == (wanted, 5)
    assert every(result)[: len(before)] == before
    assert len({t.params[RATE] for t in result.trials}) == wanted  # nothing is drawn twice
    assert [int(r["trial"]) for r in sweep.rows()] == list(range(wanted))


def test_a_backbone_that_does_not_exist_fails_alone(sweep: Folders) -> None:
    space = {"model.backbone": [TINY, "resnet19"], RATE: {**RATES, "points": 3}}
    result = sweep(sampler="grid", space=space, trials=None, pruner="none")
    for trial in result.trials:
        if trial.params["model.backbone"] == TINY:
            assert trial.state == TrialState.COMPLETE
        else:
            assert trial.state == TrialState.FAIL
            assert "resnet19" in trial.user_attrs["reason"]
    assert [r["state"] for r in sweep.rows()].count("failed") == 3
    assert all(("resnet19" in r["reason"]) == (r["state"] == "failed") for r in sweep.rows())


def test_a_sweep_without_any_result_is_an_error(sweep: Folders) -> None:
    space = {RATE: [1e30], "training.optimizer": ["sgd"], "training.weight_decay": {"low": 0.0, "high": 0.1}}
    with pytest.raises(
        WorkError,
        match=r"none of 2 trials was completed\. Trial 1, .*, says: .* in epoch \d\. When .*--fresh",
    ):
        sweep(space=space, trials=2)
    assert [r["state"] for r in sweep.rows()] == ["failed", "failed"]


def test_what_no_trial_can_have_ends_the_sweep_before_it_begins(sweep: Folders) -> None:
    with pytest.raises(UnknownBackboneError, match="resnet19"):
        sweep(space={"model.backbone": ["resnet19"], RATE: RATES}, trials=2)
    assert not (sweep.folder / "trials.csv").exists()
    assert len(sweep(space={"model.backbone": ["resnet19", TINY], RATE: RATES}, trials=2, fresh=True).trials) == 2


def test_a_trial_that_diverges_fails_alone(sweep: Folders) -> None:
    space = {RATE: [1e30, 1e-3, 1e-2], "training.optimizer": ["sgd"]}
    result = sweep(sampler="grid", space=space, trials=None)
    states = {t.params[RATE]: t for t in result.trials}
    assert states[1e30].state == TrialState.FAIL
    assert "not finite in epoch" in states[1e30].user_attrs["reason"]
    assert states[1e-3].state == states[1e-2].state == TrialState.COMPLETE


def test_options_that_contradict_each_other_fail_alone(sweep: Folders) -> None:
    space = {"training.warmup_epochs": [0, 2], "training.epochs": [2, 4]}
    result = sweep(sampler="grid", space=space, trials=None)
    failed = [t for t in result.trials if t.state == TrialState.FAIL]
    assert [t.params for t in failed] == [{"training.warmup_epochs": 2, "training.epochs": 2}]
    assert "leave some after the warm-up" in failed[0].user_attrs["reason"]
    assert len(result.trials) == 4


@pytest.mark.parametrize("sampler", ["nsga2", *(pytest.param(s, marks=pytest.mark.slow) for s in ("tpe", "random"))])
def test_two_objectives_give_a_front(sweep: Folders, sampler: str) -> None:
    space = {**SPACE, "model.classifier_dims": [["auto", "auto"], ["auto", 4, "auto"], ["auto", 64, "auto"]]}
    result = sweep(sampler=sampler, space=space, objective=["val_top3", "params"])
    complete = [t.values for t in result.trials if t.state == TrialState.COMPLETE]
    assert len(complete) == 12  # nothing is pruned
    front = {t.number for t in result.best}

    def dominated(one: list[float]) -> bool:
        return any(o[0] >= one[0] and o[1] <= one[1] and o != one for o in complete)

    assert front == {t.number for t in result.trials if not dominated(t.values) and SAME_AS not in t.user_attrs}
    files = sorted((sweep.folder / "pareto").glob("*.json"))
    assert [int(f.stem) for f in files] == sorted(front)
    assert len({load_options(f).experiment_name for f in files}) == len(files)
    history = sweep.rows("history.csv")
    fewest = [float(r["best_params"]) for r in history]
    assert fewest == sorted(fewest, reverse=True)


def test_folds_and_joined_backbones(sweep: Folders) -> None:
    space = {"model.backbone": [TINY, TWO], "model.classifier_dims": [["auto", "auto"], ["auto", 8, "auto"]]}
    result = sweep(sampler="grid", space=space, trials=None, sections={"data": {"folds": 3}}, seeds=2, pruner="none")
    assert [t.state for t in result.trials] == [TrialState.COMPLETE] * 4
    assert {t.user_attrs["outcomes"] for t in result.trials} == {2 * 68}  # train and val, each image once a seed
    by_name = {(t.params["model.backbone"], t.params["model.classifier_dims"]): t.user_attrs for t in result.trials}
    one, two = by_name[TINY, '["auto", "auto"]'], by_name[TWO, '["auto", "auto"]']
    assert two["params"] > one["params"]
    assert two["macs"] > one["macs"]
    run = sweep.train(result.configs[0])
    assert run.metrics["val_loss"] == pytest.approx(result.best[0].user_attrs["val_loss"], abs=1e-3)
    assert abs(run.metrics["val_top1"] - result.best[0].user_attrs["val_top1"]) < 1.01 / 136


def test_any_options_at_once(sweep: Folders) -> None:
    space = {
        "model.classifier_dims": [["auto", "auto"], ["auto", 8, 8, "auto"]],
        "model.input_size": [28, 32],
        "data.batch_size": {"low": 8, "high": 32, "log": True},
        "data.views": [1, 2],
        "data.augmentations": [["rotation"], [{"name": "rotation", "degrees": 40.0}]],
        "training.precision": ["float32", "bfloat16"],
        "training.optimizer": ["adam", "adamw", "sgd"],
        "training.scheduler": ["none", "cosine", "step"],
        "training.epochs": {"low": 2, "high": 5},
        "training.patience": [None, 1],
        "training.label_smoothing": {"low": 0, "high": 0.2},
        "training.selection_metric": ["val_top1", "val_top3", "val_loss"],
    }
    result = sweep(space=space, pruner="none", seeds=2, sections={"data": {"augmentations": ["rotation"]}})
    assert {t.state for t in result.trials} == {TrialState.COMPLETE}
    assert {t.user_attrs["outcomes"] for t in result.trials} == {40}
    run = sweep.train(result.configs[0])
    best = result.best[0].user_attrs
    assert run.metrics["val_loss"] == pytest.approx(best["val_loss"], abs=1e-3)
    assert abs(run.metrics["val_top1"] - best["val_top1"]) < 1.01 / best["outcomes"]


def test_features_that_do_not_fit_are_read_again(sweep: Folders) -> None:
    space = {"model.backbone": [TINY, TWO], RATE: [0.01, 0.001]}
    sections = {"cache": {"max_features_gb": 1e-9}}
    result = sweep(sampler="grid", space=space, trials=None, batch=4, sections=sections)
    assert [t.state for t in result.trials] == [TrialState.COMPLETE] * 4


def test_the_hopeless_are_stopped_and_never_the_best(sweep: Folders) -> None:
    space = {RATE: {"low": 1e-9, "high": 1e-2, "log": True}}
    sections = {"training": {"epochs": 8}}
    result = sweep(space=space, trials=40, batch=4, sections=sections, objective="val_loss")
    pruned = [t for t in result.trials if t.state == TrialState.PRUNED]
    assert 3 <= len(pruned) <= 30
    assert all(0 <= t.user_attrs["pruned_at"] < 8 for t in pruned)
    assert [t.number for t in pruned] == [int(r["trial"]) for r in sweep.rows() if r["pruned_at"]]
    sweep.results = sweep.results.with_name("whole")
    whole = sweep(space=space, trials=40, batch=4, sections=sections, objective="val_loss", pruner="none")
    assert {t.state for t in whole.trials} == {TrialState.COMPLETE}
    assert [t.params for t in whole.trials] == [t.params for t in result.trials]
    assert whole.best[0].number == result.best[0].number
    for one, other in zip(result.trials, whole.trials, strict=True):
        if one.state == TrialState.COMPLETE:  # its neighbours' end is none of its concern
            assert one.user_attrs["val_loss"] == pytest.approx(other.user_attrs["val_loss"], abs=1e-6)


def test_equal_options_have_equal_figures(sweep: Folders) -> None:
    space = {RATE: [0.01, 0.001], "model.dropout": [0.2]}
    result = sweep(space=space, trials=9, batch=3, seeds=2, pruner="none")
    for rate in (0.01, 0.001):
        alike = [t for t in result.trials if t.params[RATE] == rate]
        assert len({t.number // 3 for t in alike}) > 1  # in several batches
        for metric in ("val_loss", "val_top1", "val_top3"):
            figures = [t.user_attrs[metric] for t in alike]
            assert max(figures) - min(figures) < 1e-6


def test_another_storage(sweep: Folders, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    sweep(trials=3, storage=url)
    assert not (sweep.folder / "study.db").exists()
    assert sweep(trials=5, storage=url).new == 2
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 5
    assert sweep(trials=2, storage=url, fresh=True).new == 2


def test_optuna_reads_the_study(sweep: Folders) -> None:
    result = sweep()
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{sweep.folder / 'study.db'}")
    assert [figures_of(t) for t in study.trials] == every(result)
    assert study.best_trial.number == result.best[0].number
    assert study.trials[0].intermediate_values  # an epoch each


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("storage", ["no url", "sqlite:////no/such/folder/study.db"])
def test_a_storage_that_cannot_be_opened(sweep: Folders, storage: str, fresh: bool) -> None:
    with pytest.raises(OptionsError, match="storage"):
        sweep(storage=storage, fresh=fresh)


def test_a_study_that_is_no_database(sweep: Folders) -> None:
    sweep.folder.mkdir(parents=True)
    (sweep.folder / "study.db").write_text("mine")
    with pytest.raises(OptionsError, match="cannot be opened"):
        sweep(trials=2)
    assert len(sweep(trials=2, fresh=True).trials) == 2


@pytest.mark.parametrize(
    "objective", ["latency_ms", pytest.param("macs", marks=pytest.mark.slow), ["params", "val_top3"]]
)
def test_an_objective_that_no_option_moves(sweep: Folders, objective: Any) -> None:
    result = sweep(objective=objective, trials=6)
    assert len(result.trials) == 6
    assert all(math.isfinite(v) for v in result.importances.values())


@pytest.mark.parametrize("sampler", ["cmaes", "gp", "spsa", "tpe"])
def test_one_range_alone(sweep: Folders, sampler: str) -> None:
    result = sweep(sampler=sampler, space={RATE: RATES}, trials=8)
    assert len(result.trials) == 8


@pytest.mark.parametrize("sampler", ["cmaes", "spsa", "nsga2"])
def test_choices_alone(sweep: Folders, sampler: str) -> None:
    result = sweep(sampler=sampler, space={RATE: [0.1, 0.01], "model.dropout": [0.1, 0.2]}, trials=8)
    assert len(result.trials) == 8


def test_optunas_share_is_one_of_the_whole(sweep: Folders) -> None:
    for trials in (1, 2):
        seconds = sweep(trials=trials).seconds
        assert 0 < seconds["optuna"] <= seconds["total"]


def test_importances_are_for_the_best_whatever_the_objectives(sweep: Folders, tmp_path: Path) -> None:
    importances = []
    for objective in ("val_top1", ["val_top1", "params"]):
        space = {RATE: {"low": 0.01, "high": 1.0}, "model.dropout": {"low": 0.0, "high": 0.9}}
        name = f"s{len(importances)}"
        options = SweepOptions.model_validate(
            {"name": name, "base": sweep.base, "space": space, "objective": objective, "sampler": "random"}
        )
        space = make_space(options, sweep.base)
        study = SweepStudy(options, space, space.options({}), tmp_path, "images")
        study.use(optuna.samplers.RandomSampler(0))
        for trial in study.ask(100):
            # What is good follows from the learning rate alone, what is bad from dropout.
            right = 0.5 + 0.4 * (trial.params[RATE] > 0.8) - 0.4 * (trial.params["model.dropout"] < 0.15)
            study.tell(trial, Figures(right, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1, 1, 100), False, {})
        importances.append(study.importances())
    assert importances[0][RATE] > 0.8
    assert importances[1] == pytest.approx(importances[0])


def test_nothing_is_left_of_what_was_forgotten(sweep: Folders) -> None:
    sweep(trials=2)
    with pytest.raises(UnknownBackboneError):
        sweep(trials=2, space={"model.backbone": ["resnet19"]}, fresh=True)
    assert not (sweep.folder / "best.json").exists()


def test_a_sweep_without_a_name_is_called_sweep(sweep: Folders) -> None:
    assert sweep(name=None, trials=1).folder.name == "sweep"


def test_trials_of_other_weights_do_not_join(sweep: Folders, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"

    def save(seed: int) -> None:
        model = ModelOptions(backbone="squeezenet1_1", input_size=32, pretrained=False, weights_seed=seed)
        torch.save(load_backbone(model).network.state_dict(), weights)

    model = {"backbone": "squeezenet1_1", "weights": str(weights), "pretrained": True}
    save(0)
    sweep(trials=2, sections={"model": model})
    save(1)
    with pytest.raises(RunError, match=r"squeezenet1_1: earlier trials .* saw other features.*--fresh"):
        sweep(trials=4, sections={"model": model})
    assert len(sweep(trials=4, sections={"model": model}, fresh=True).trials) == 4


def test_what_does_not_change_a_trial_may_change(sweep: Folders) -> None:
    sweep(trials=2)
    result = sweep(trials=4, sections={"data": {"workers": 2}, "training": {"epochs": 3, "momentum": 0.9}})
    assert (len(result.trials), result.new) == (4, 2)


def test_spsa_trains_as_many_points_as_trials_and_says_its_way(sweep: Folders) -> None:
    for trials in (14, 22):  # it goes on
        found = sweep(sampler="spsa", trials=trials, batch=4, seeds=2, pruner="none")
    assert len({tuple(t.params.values()) for t in found.trials}) == 22
    assert not any(SAME_AS in t.user_attrs for t in found.trials)
    for trial in found.trials:  # what the noise of a pair is measured by
        one = 2.0 / trial.user_attrs["outcomes"]  # image: the loss counts for less than that
        assert np.mean(trial.user_attrs[SEED_VALUES]) == pytest.approx(trial.values[0], abs=one)
    rows = sweep.rows()
    starts = {row["trial"] for row in rows if row["side"] == "0"}
    assert {row["chain"] for row in rows} <= starts
    sides = [row["side"] for row in rows if row["side"] != "0"]
    assert len(sides) >= 8 and sides[::2] == ["1"] * len(sides[::2]) and set(sides[1::2]) == {"-1"}
    assert "chain" not in sweep_columns(sweep, "random")


def sweep_columns(sweep: Folders, sampler: str) -> list[str]:
    sweep(sampler=sampler, trials=2, fresh=True)
    return list(sweep.rows()[0])


def test_a_choice_may_look_like_json(sweep: Folders) -> None:
    with pytest.raises(OptionsError, match=r"model\.backbone"):
        sweep(space={"model.backbone": ["[x] net", ""], RATE: RATES}, trials=2)


def test_a_sweep_has_a_name() -> None:
    with pytest.raises(ValueError, match="name has 0 bytes"):
        SweepOptions.model_validate({"name": "", "base": {}, "space": SPACE})


@pytest.mark.parametrize(
    "sampler", ["random", "tpe", "nsga2", "spsa", *(pytest.param(s, marks=pytest.mark.slow) for s in ("gp", "cmaes"))]
)
def test_no_point_is_trained_twice(sweep: Folders, monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    """Four points, twenty trials, ten of which a second call asks for."""
    trained: list[str] = []
    train = TrialTrainer.train

    def noted(self: TrialTrainer, trials: Any, report: Any) -> Any:
        trained.extend(f"{o.training.learning_rate} {o.model.dropout}" for o in trials)
        return train(self, trials, report)

    monkeypatch.setattr(TrialTrainer, "train", noted)
    space = {RATE: [1e-3, 1e-2], "model.dropout": [0.0, 0.2]}
    for trials in (10, 20):
        found = sweep(space=space, sampler=sampler, trials=trials, pruner="none")
    assert len(trained) == len(set(trained)) <= 4
    rows = sweep.rows()
    assert len(rows) == 20
    first = {row["trial"]: row for row in rows if not row["same_as"]}
    assert len(first) == len(trained)
    for row in rows:
        if row["same_as"]:
            told = {k: v for k, v in row.items() if k not in ("trial", "same_as", "may_be_best", "chain")}
            assert told == {k: first[row["same_as"]][k] for k in told}
    assert found.chosen is not None and found.chosen.among == len(trained)
    assert sorted(int(f.stem) for f in (sweep.folder / "outcomes").glob("*.npz")) == sorted(map(int, first))
