"""The best head each: of the recipes tried the best on val, in a run of its own that holds what all of them did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from made_runs import save_run

from featcache.errors import NonFiniteError, OptionsError, RunError
from featcache.options import load_options
from heads import train_model, tune_model
from heads.leaderboard import Heads, Ranking, choose, rank_results
from heads.runs import Run, load_run_record
from heads.runs.predictions import load_predictions
from heads.runs.val_outcomes import load_val_outcomes
from heads.training import Recipe

Config = Callable[..., dict[str, Any]]
Tune = Callable[..., Run]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.training.recipes.RATES", (1e-3, 1e-1))
    monkeypatch.setattr("heads.training.recipes.NORMALISATIONS", ("none", "standard"))


@pytest.fixture
def options(config: Config) -> Config:
    def make(name: str = "run", **sections: dict[str, Any]) -> dict[str, Any]:
        sections["model"] = {"backbone": TINY, **sections.get("model", {})}
        sections["training"] = {"epochs": 4, "seeds": 2, **sections.get("training", {})}
        return config(name, **sections)

    return make


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    def run(options: dict[str, Any], reuse: bool = False) -> Run:
        return tune_model(options, results_dir=tmp_path / "results", allow_custom=True, reuse=reuse)

    return run


@pytest.mark.parametrize("folds", [None, 2], ids=["val", "folds"])
def test_it_is_the_best_of_runs_that_are_trained_one_by_one(
    options: Config, tune: Tune, tmp_path: Path, folds: int | None
) -> None:
    own = options(data={"folds": folds})
    found = tune(own)
    recipes = [Recipe(one["learning_rate"], one["weight_decay"], one["normalise"]) for one in told(found)["recipes"]]
    assert len(recipes) == 5 and recipes[0] == Recipe(0.003, 0.01, "none")
    alone = [train_model(with_recipe(own, r), results_dir=tmp_path / str(r), allow_custom=True) for r in recipes]
    outcomes = load_val_outcomes(found.folder / "val_outcomes.npz")
    assert outcomes.top1.shape[:2] == (5, 2)
    for place, run in enumerate(alone):
        same = load_val_outcomes(run.folder / "val_outcomes.npz")
        assert np.array_equal(outcomes.top1[place], same.top1[0])
        assert np.array_equal(outcomes.chosen[place], same.chosen[0])
        assert told(found)["recipes"][place]["val_top1"] == pytest.approx(run.metrics["val_top1"])
    best = max(range(5), key=lambda n: (round(alone[n].metrics["val_top1"], 9), -mean_loss(alone[n])))
    assert outcomes.best == best
    assert told(found)["chosen"] == {**recipes[best].__dict__}
    logits = [load_predictions(run.folder / "predictions.npz", "val").logits for run in (found, alone[best])]
    assert np.array_equal(*logits)


def told(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = run.summary["tuned"]
    return found


def with_recipe(options: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    training = {"learning_rate": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    return {**options, "training": {**options["training"], **training}, "head": {"normalise": recipe.normalise}}


def mean_loss(run: Run) -> float:
    """Of the heads at their best epochs."""
    outcomes = load_val_outcomes(run.folder / "val_outcomes.npz")
    return float(np.mean(np.take_along_axis(outcomes.loss[0], outcomes.chosen[0][..., None], -1)))


def test_it_stands_beside_the_uniform_run_and_its_options_give_it_again(
    options: Config, tune: Tune, tmp_path: Path
) -> None:
    uniform = train_model(options(), results_dir=tmp_path / "results", allow_custom=True)
    found = tune(options())
    assert (uniform.folder.name, found.folder.name) == ("run", "run-tuned")
    written = load_options(found.folder / "options.json")
    assert written.experiment_name == "run-tuned"
    assert Recipe.of(written).__dict__ == told(found)["chosen"]
    again = train_model(written, results_dir=tmp_path / "again", allow_custom=True)
    assert again.metrics == found.metrics
    assert found.metrics["val_top1"] >= uniform.metrics["val_top1"]


def test_training_the_options_that_were_found_leaves_the_tuned_run_alone(
    options: Config, tune: Tune, tmp_path: Path
) -> None:
    found = tune(options())
    written = load_options(found.folder / "options.json")
    for reuse in (False, True):
        alone = train_model(written, results_dir=tmp_path / "results", allow_custom=True, reuse=reuse)
        assert alone.folder.name == f"run-tuned-{written.short}"
        assert alone.reused == reuse
    assert told(load_run_record(found.folder)) == told(found)
    assert load_val_outcomes(found.folder / "val_outcomes.npz").top1.shape[0] == 5
    assert tune(options(), reuse=True).reused


def test_a_finished_one_is_used_again_and_other_options_have_a_folder_of_their_own(
    options: Config, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tune(options())
    assert not first.reused
    assert tune(options(), reuse=True).reused
    assert not tune(options()).reused
    other = tune(options(training={"epochs": 3}), reuse=True)
    assert not other.reused
    assert other.folder.name.startswith("run-tuned-")
    assert tune(options(training={"epochs": 3}), reuse=True).reused
    monkeypatch.setattr("heads.training.recipes.RATES", (1e-2,))  # another grid is another search
    anew = tune(options(), reuse=True)
    assert not anew.reused
    assert anew.folder == first.folder


def test_a_recipe_that_diverges_is_none_to_choose(options: Config, tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.training.recipes.RATES", (1e-3, 1e30))
    found = tune(options(training={"optimizer": "sgd"}))
    assert told(found)["diverged"] == 2
    assert {one["learning_rate"] for one in told(found)["recipes"]} == {3e-3, 1e-3}
    assert load_val_outcomes(found.folder / "val_outcomes.npz").top1.shape[0] == 3
    monkeypatch.setattr("heads.training.recipes.RATES", (1e30,))
    with pytest.raises(NonFiniteError, match="every recipe"):
        tune(options("all", training={"learning_rate": 1e30, "optimizer": "sgd"}))
    assert not (found.folder.parent / "all-tuned").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]}}, "unfreeze_schedule"),
        ({"name": "x" * 118}, "Shorten it"),
    ],
)
def test_what_cannot_be_tuned_is_said_before_any_work(
    options: Config, tune: Tune, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(OptionsError, match=said):
        tune(options(**change))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("run", [tune_model, train_model])
def test_where_a_run_goes_is_not_told_of_options_that_cannot_be_followed(
    options: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Callable[..., Run]
) -> None:
    for taken in ("run", "run-tuned"):
        (tmp_path / "results" / taken).mkdir(parents=True)
    with caplog.at_level("INFO", "featcache"), pytest.raises(OptionsError, match="no class is called 'nope'"):
        run(options(training={"class_weights": {"nope": 2}}), results_dir=tmp_path / "results")
    assert "this run goes to" not in caplog.text


# On the leaderboard

HEADS: tuple[Heads, ...] = ("all", "uniform", "tuned")


def mark(folder: Path) -> None:
    """Make a run a tuned one."""
    file = folder / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "tuned": {"recipes": []}}))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two backbones with a uniform and a tuned head each, whose order differs, and one that was fine-tuned."""
    for backbone, uniform, tuned in (("a", 80, 90), ("b", 85, 86)):
        save_run(tmp_path, backbone, range(uniform), backbone=backbone)
        mark(save_run(tmp_path, f"{backbone}-tuned", range(tuned), backbone=backbone))
    save_run(tmp_path, "end", range(99), backbone="b", phase=2)
    return tmp_path


def test_the_board_ranks_by_either_head(results: Path) -> None:
    by = {heads: rank_results(results, Ranking(heads=heads)).board for heads in HEADS}
    assert [row.run for row in by["uniform"].rows if row.phase == 1] == ["b", "a"]
    assert [row.run for row in by["tuned"].rows if row.phase == 1] == ["a-tuned", "b-tuned"]
    assert {row.run: row.head for row in by["all"].rows} == {
        **{"a": "uniform", "a-tuned": "tuned", "b": "uniform", "b-tuned": "tuned", "end": ""}
    }
    assert all("end" in [row.run for row in board.rows] for board in by.values())
    assert len(by["all"].feature_maps) == 2  # both heads are of the same feature map


def test_each_backbone_goes_on_once(results: Path) -> None:
    board = rank_results(results).board
    assert [row.run for row in board.top] == [row.run for row in choose(board, 2, "accuracy")] == ["a-tuned", "b-tuned"]
    assert {row.backbone for row in choose(board, 2, "pareto")} == {"a", "b"}


def test_without_a_tuned_run_there_is_nothing_to_rank_by_it(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(80))
    with pytest.raises(RunError, match="benchmark --tuned"):
        rank_results(tmp_path, Ranking(heads="tuned"))
