"""The search of Phase 2's recipe: what is tried, what is shared, stopped, resumed, and what the winner is worth."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache.errors import OptionsError, RunError
from featcache.options.loading import parse_options
from featcache.session import Session
from heads import train_model
from heads.finetune import TuningPlan, fine_tune_run, frozen_trunk
from heads.finetune.seed_trainer import Trainer
from heads.leaderboard import leaderboard
from heads.recipes import RecipeSearch, SearchedRun, load_recipe_search, search_recipe
from heads.recipes.recipe_space import RecipeSpace, make_recipe_space
from heads.recipes.recipe_study import RecipeStudy
from heads.report.figures import draw_sweep
from heads.report.recipe_searches import load_recipe_searches
from heads.runs import finished_runs, searched_recipe
from heads.runs.predictions import load_predictions
from heads.runs.run import load_run_record
from heads.search import OutcomeFiles, Range, TrialOutcomes

Config = Callable[..., dict[str, Any]]
EPOCHS = 6
SPACE: dict[str, Any] = {
    "unfreeze": [None, "last_block"],
    "unfreeze_at": [0.0, 0.5],
    "training.learning_rate": [1e-6, 0.003],
    "training.l2_to_start": [0.0, 0.1],
}


def plan(config: Config, tmp_path: Path, **sections: Any) -> TuningPlan:
    model = {"backbone": "networks:four_stages"}
    heads = config("heads", model=model, training={"epochs": 2}, **sections)
    made = train_model(heads, results_dir=tmp_path / "results", allow_custom=True, reuse=True)
    training = {"epochs": EPOCHS, "learning_rate": 0.003, "unfreeze_schedule": [{"epoch": 2, "unfreeze": "last_block"}]}
    return TuningPlan(parse_options(config("tuned", model=model, training=training, **sections)), made.folder, False)


def search(of: TuningPlan, tmp_path: Path, results: str = "results", **asked: Any) -> SearchedRun:
    wanted = RecipeSearch(**{"space": SPACE, "trials": 6, "confirm_seeds": 2, **asked})
    session = Session.begin(results_dir=tmp_path / results, allow_custom=True, reuse=True)
    return search_recipe(of, wanted, session)


def trials(found: SearchedRun) -> list[dict[str, str]]:
    with (found.folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_recipes_share_the_trunk_stop_early_and_the_best_is_confirmed(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of, made, epochs = plan(config, tmp_path), [], 0
    keep, train = frozen_trunk._in_memory, Trainer._train

    def noted(*arguments: Any) -> Any:
        made.append(1)
        return keep(*arguments)

    def counted(self: Trainer, epoch: int) -> tuple[float, float]:
        nonlocal epochs
        epochs += self.seed < 1000
        return train(self, epoch)

    monkeypatch.setattr(frozen_trunk, "_in_memory", noted)
    monkeypatch.setattr(Trainer, "_train", counted)
    found = search(of, tmp_path)
    assert sum(made) == 2  # one for all trials, one for the run that confirms
    rows = trials(found)
    assert len(rows) == 6 and len({tuple(r.values())[10:] for r in rows}) == 6  # none twice
    assert epochs == sum(int(r["epochs"]) for r in rows) < 6 * EPOCHS
    assert {r["state"] for r in rows} == {"complete", "stopped"}
    assert (rows[0]["training.learning_rate"], rows[0]["unfreeze"]) == ("0.003", "")  # the recipe that was given
    best = max(rows, key=lambda r: float(r["value"]))
    document = json.loads((found.folder / "search.json").read_text())
    assert document["best"]["trial"] == int(best["trial"]) and best["may_be_best"] == "yes"
    assert best["training.learning_rate"] == "0.003"  # the other hardly learns
    top1 = document["figures"]["top1"]
    assert top1["found"] == pytest.approx(float(best["val_top1"]), abs=1e-6) and top1["corrected"] <= top1["found"]
    # What was chosen by is what the network answered: its outcomes are of the same images as the run's.
    kept = OutcomeFiles(found.folder / "outcomes").read(int(best["trial"]))
    assert isinstance(kept, TrialOutcomes)
    assert kept.kept("top1").mean == pytest.approx(float(best["val_top1"]))
    seen = load_predictions(found.run.folder / "predictions.npz", "val")
    assert kept.images.names == seen.keys
    seeds = [one["seed"] for one in found.run.summary["seeds"]]
    assert len(seeds) == 2 and 42 not in seeds
    assert found.run.summary["from_run"] == "heads"
    # The board is told, and the page has every recipe.
    searched = searched_recipe(found.run.folder)
    assert searched is not None and searched.among == 6 and 0 <= searched.added["top1"] <= top1["added"] + 1e-9
    (row,) = (r for r in leaderboard(finished_runs(tmp_path / "results")).rows if r.run == found.run.folder.name)
    assert row.recipes_tried == 6 and row.corrected_top1 is not None and row.corrected_top1 <= row.val_top1
    (shown,) = load_recipe_searches(found.folder.parent, found.run.summary["data"]["fingerprint"])
    assert [t.number for t in shown.trials] == list(range(6)) and shown.confirmed == found.run.folder.name
    assert shown.best_first[0].values[0] == max(t.values[0] for t in shown.trials) == shown.history[-1][1][0]
    assert shown.trials[0].options["training.learning_rate"] == "0.003" and list(draw_sweep(shown, 0))
    assert not load_recipe_searches(found.folder.parent, "of other images")


@pytest.mark.slow
def test_a_search_that_is_stopped_ends_as_if_it_was_not(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(config, tmp_path)
    whole = search(of, tmp_path, "whole", trials=4, confirm_seeds=1)
    train, calls = Trainer._train, 0

    def stopped(self: Trainer, epoch: int) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls in (3, 10, 18):
            raise KeyboardInterrupt
        return train(self, epoch)

    monkeypatch.setattr(Trainer, "_train", stopped)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            search(of, tmp_path, "again", trials=4, confirm_seeds=1)
    again = search(of, tmp_path, "again", trials=4, confirm_seeds=1)
    a, b = ([{k: v for k, v in r.items() if k != "seconds"} for r in trials(one)] for one in (whole, again))
    assert a == b
    for split in ("val", "test"):
        logits = [load_predictions(one.run.folder / "predictions.npz", split).logits for one in (whole, again)]
        assert np.array_equal(*logits)
    heads = [torch.load(one.run.folder / "best_model.pth", weights_only=True)["head"] for one in (whole, again)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    more = search(of, tmp_path, "again", trials=5, confirm_seeds=1)  # which goes on
    assert [r["value"] for r in trials(more)[:4]] == [r["value"] for r in a]


@pytest.mark.slow
def test_with_folds_trials_answer_out_of_fold_and_begin_fresh(config: Config, tmp_path: Path) -> None:
    of = plan(config, tmp_path, data={"folds": 3})
    found = search(of, tmp_path, trials=2, confirm_seeds=1, space={**SPACE, "head": ["fresh", "warm"]})
    assert {r["head"] for r in trials(found)} == {"fresh"}
    kept = OutcomeFiles(found.folder / "outcomes").read(0)
    assert isinstance(kept, TrialOutcomes) and len(kept.images.names) == 68
    assert load_run_record(found.run.folder).summary["of_folds"][0]["kept"] == "retrained"


def test_no_trial_begins_when_the_budget_is_spent(config: Config, tmp_path: Path) -> None:
    found = search(plan(config, tmp_path), tmp_path, budget="0.001s", confirm_seeds=1)
    (row,) = trials(found)
    assert row["state"] == "stopped" and row["best_epoch"] == "-1"


def study(of: TuningPlan, folder: Path, pruner: Any = "asha", **asked: Any) -> tuple[RecipeSpace, RecipeStudy]:
    wanted = RecipeSearch(space=asked.pop("space", SPACE), pruner=pruner)
    space = make_recipe_space(wanted, of.options, warm=True, **asked)
    folder.mkdir(parents=True)
    return space, RecipeStudy(wanted, space, folder, "these", True)


def unrun(config: Config, epochs: int = EPOCHS, **training: Any) -> TuningPlan:
    steps = [{"epoch": 2, "unfreeze": "last_block"}]
    return TuningPlan(
        parse_options(config("tuned", training={"epochs": epochs, "unfreeze_schedule": steps, **training}))
    )


def test_a_recipe_that_begins_with_a_runs_head_does_so_whatever_is_searched(config: Config, tmp_path: Path) -> None:
    for begins_warm in (True, False):
        space, _ = study(unrun(config), tmp_path / str(begins_warm), begins_warm=begins_warm)
        assert space.recipe({"training.learning_rate": 0.1})[1] == begins_warm
        assert space.recipe({"head": "warm"})[1] and not space.recipe({"head": "fresh"})[1]


def test_no_recipe_is_tried_twice_and_a_space_ends(config: Config, tmp_path: Path) -> None:
    few = {key: SPACE[key] for key in ("unfreeze", "unfreeze_at", "training.l2_to_start")}
    space, made = study(unrun(config), tmp_path / "study", space=few)
    assert space.size == 2 * 3  # pulls; the schedule as it is given, or a step at either time
    tried = []
    while not made.exhausted:
        trial = made.ask()
        tried.append(space.recipe(trial.params)[0].short)
        made.tell(trial, float(len(tried)), False, {})
    assert len(tried) == len(set(tried)) == 6


def test_a_range_of_whole_numbers_has_no_others(config: Config, tmp_path: Path) -> None:
    epochs = Range(low=0, high=4)
    space, made = study(unrun(config), tmp_path / "study", space={"training.warmup_epochs": epochs})
    found = set()
    while len(found) < 3:
        trial = made.ask()
        found.add(space.recipe(trial.params)[0].training.warmup_epochs)
        made.tell(trial, 0.5, False, {})
    assert found <= set(range(5))
    with pytest.raises(OptionsError, match=r"takes whole numbers, and its step is 0\.5"):
        study(unrun(config), tmp_path / "odd", space={"training.warmup_epochs": Range(low=0, high=4, step=0.5)})


def test_hyperband_deals_its_brackets_out_alike_in_every_process(config: Config, tmp_path: Path) -> None:
    def stops(folder: Path) -> list[int]:
        rates = {"training.learning_rate": Range(low=1e-4, high=1e-2)}
        _, made = study(unrun(config, 27), folder, "hyperband", space=rates)
        found = []
        for _ in range(7):
            trial = made.ask()
            stop = next((e for e in range(1, 27) if made.hopeless(trial, e, 1 / (1 + trial.number))), 27)
            found.append(stop)
            made.tell(trial, 1 / (1 + trial.number), stop < 27, {})
        return found

    first = stops(tmp_path / "0")
    assert len(set(first)) > 1 and stops(tmp_path / "1") == stops(tmp_path / "2") == first


@pytest.mark.parametrize("pruner", ["asha", pytest.param("hyperband", marks=pytest.mark.slow)])
def test_a_fresh_head_is_not_stopped_by_those_that_had_a_start(config: Config, tmp_path: Path, pruner: str) -> None:
    """Warm heads are at 0.9 from the first epoch on, fresh ones far below, the later the better."""
    both = {"head": ["fresh", "warm"], "training.learning_rate": Range(low=1e-4, high=1e-2)}
    _, made = study(unrun(config, 27), tmp_path / "study", pruner, space=both)
    stops: dict[str, list[int]] = {"fresh": [], "warm": []}
    for number in range(24):
        trial = made.ask()
        head = trial.params["head"]
        value = number / 100 if head == "fresh" else 0.9 - number / 100
        stop = next((e for e in range(1, 27) if made.hopeless(trial, e, value)), 27)
        stops[head].append(stop)
        made.tell(trial, value, stop < 27, {})
    assert len(stops["fresh"]) > 5 and set(stops["fresh"]) == {27}  # each the best of its like
    assert len(stops["warm"]) > 5 and min(stops["warm"]) < 27  # which are compared with each other as ever


def test_trials_begin_with_what_the_run_would(config: Config, tmp_path: Path) -> None:
    """Of a run that was fine-tuned its network; a search whose start is none says so before it tries anything."""
    of = plan(config, tmp_path)
    tuned = fine_tune_run(of, Session.begin(results_dir=tmp_path / "results", allow_custom=True))
    assert tuned.best_epoch >= 2  # so that its network is not the one that was published
    still: dict[str, Any] = {"training.learning_rate": [1e-9], "training.adapter": [None, {"kind": "norm"}]}
    document = of.options.as_dict()
    document["training"] |= {
        "learning_rate": 1e-9,
        "epochs": 1,
        "unfreeze_schedule": [{"epoch": 0, "unfreeze": "last_block"}],
        "frozen_batch_norms": True,
    }
    again = TuningPlan(parse_options({**document, "experiment_name": "again"}), tuned.folder)
    found = search(again, tmp_path, space=still, trials=2, confirm_seeds=1)
    losses = [float(row["val_loss"]) for row in trials(found)]
    assert losses == pytest.approx([tuned.summary["val"]["loss"]["mean"]] * 2, abs=1e-3)
    folded = parse_options({**document, "experiment_name": "folded", "data": {**document["data"], "folds": 3}})
    with pytest.raises(RunError, match=r"was fine-tuned on images that data\.folds would judge by"):
        search(TuningPlan(folded, tuned.folder, False), tmp_path)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"training.learning_rte": [1.0]}, r"unknown option.*learning_rate"),
        ({"training.epochs": [3]}, "training.epochs is no part of a recipe"),
        ({"model.backbone": ["resnet18"]}, "model.backbone is no part of a recipe"),
        ({"unfreeze_at": [0.5]}, "unfreeze_at goes with unfreeze"),
        ({"unfreeze": ["all"], "unfreeze_at": [1.0]}, "from 0 to below 1"),
        ({"training.mixup": [-1.0]}, "mixup"),
        ({"head": ["cold"]}, "expected fresh or warm"),
    ],
)
def test_what_cannot_be_searched_is_said_before_any_work(
    config: Config, tmp_path: Path, space: dict[str, Any], message: str
) -> None:
    training = {"epochs": EPOCHS, "unfreeze_schedule": [{"epoch": 2, "unfreeze": "last_block"}]}
    of = TuningPlan(parse_options(config("tuned", training=training)))
    with pytest.raises(OptionsError, match=message):
        search(of, tmp_path, space=space)
    assert not (tmp_path / "results").exists()


def test_the_file_that_comes_with_it_can_be_followed_and_changed(tmp_path: Path) -> None:
    found = load_recipe_search(trials=7, budget="1.5h")
    assert (found.trials, found.budget) == (7, 5400.0) and "unfreeze" in found.space
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"space": {"training.mixup": [0.0]}, "budget": "soon", "trails": 3}))
    with pytest.raises(OptionsError, match=r"budget: .*a time such as 2h.*unknown key 'trails', expected space"):
        load_recipe_search(file)
    with pytest.raises(OptionsError, match="--budget: Input should be greater than 0"):
        load_recipe_search(budget="0s")
