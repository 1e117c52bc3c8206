"""What trials gave on each image is kept while a sweep goes on, and its best is corrected by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState
from test_sweep import RATE, RATES, Folders, root

from heads.search.sweep_result import SweepResult
from heads.search.trial_outcomes import GONE, OutcomeFiles, TrialOutcomes

__all__ = ["root"]  # the fixture


@pytest.fixture
def sweep(root: Path, tmp_path: Path) -> Folders:
    return Folders(root, tmp_path / "results")


def read(sweep: Folders, number: int) -> TrialOutcomes:
    found = OutcomeFiles(sweep.folder / "outcomes").read(number)
    assert isinstance(found, TrialOutcomes)
    return found


def assert_kept(sweep: Folders, result: SweepResult) -> None:
    """Every completed trial's outcomes give its figures again, and no other trial has any."""
    for trial in result.trials:
        if trial.state != TrialState.COMPLETE:
            assert OutcomeFiles(sweep.folder / "outcomes").read(trial.number) == GONE
            continue
        kept, seen = read(sweep, trial.number), trial.user_attrs
        assert kept.kept("top1").mean == pytest.approx(seen["val_top1"], abs=1e-9)
        assert kept.kept("top3").mean == pytest.approx(seen["val_top3"], abs=1e-9)
        assert -kept.kept("loss").mean == pytest.approx(seen["val_loss"], abs=1e-5)
        assert kept.every.chosen[0].ravel().tolist() == seen["best_epochs"]


def test_a_sweep_that_goes_on_has_all_of_them(sweep: Folders) -> None:
    sweep(trials=5, seeds=2)
    result = sweep(trials=12, seeds=2)
    assert_kept(sweep, result)
    chosen = result.chosen
    assert (chosen.among, chosen.compared, chosen.missing) == (
        sum(t.state == TrialState.COMPLETE for t in result.trials),
    ) * 2 + ((),)
    assert result.best[0].number in chosen.may_be_best
    document = json.loads((sweep.folder / "sweep.json").read_text())["chosen"]
    top3 = document["figures"]["top3"]
    assert top3["found"] == pytest.approx(result.best[0].user_attrs["val_top3"])
    assert top3["added"] == pytest.approx(top3["found"] - top3["corrected"])
    assert document["may_be_best"] == [int(r["trial"]) for r in sweep.rows() if r["may_be_best"] == "yes"]
    assert document["said"][0] in result.lines()
    assert f"chosen among {chosen.among} trials of 3 epochs" in document["said"][0]
    again = sweep(trials=12, seeds=2)
    assert again.chosen == chosen


def test_folds_and_epochs_chosen_by_the_loss(sweep: Folders) -> None:
    sections = {"data": {"folds": 3}, "training": {"selection_metric": "val_loss"}}
    result = sweep(trials=3, seeds=2, pruner="none", objective="val_loss", sections=sections)
    assert_kept(sweep, result)
    one = read(sweep, 0)
    assert one.every.selected is not None
    folds = [np.flatnonzero(one.every.fold == f) for f in range(3)]
    assert sum(map(len, folds)) == 68
    for number, own in enumerate(folds):
        by_image = -one.every.selected[0, :, :, own].mean(axis=0)
        assert by_image == pytest.approx(one.every.loss[0, :, number], abs=1e-4)
    assert result.chosen.epochs == 3
    assert result.chosen.figures["loss"].found == pytest.approx(-result.best[0].user_attrs["val_loss"], abs=1e-5)
    assert any(line.startswith("best val loss ") for line in result.lines())


@pytest.mark.parametrize("folds", [None, 3])
def test_a_metric_of_the_whole_split_is_kept_image_by_image(sweep: Folders, folds: int | None) -> None:
    result = sweep(trials=3, seeds=2, pruner="none", objective="val_macro_f1", sections={"data": {"folds": folds}})
    assert_kept(sweep, result)
    for trial in result.trials:
        parts = read(sweep, trial.number).kept("macro_f1")
        assert parts.mean == pytest.approx(trial.user_attrs["val_macro_f1"], abs=1e-6)
    assert result.best[0].number in result.chosen.may_be_best
    assert any(line.startswith("best val macro-F1 ") for line in result.lines())


def test_several_objectives_have_a_best_in_each(sweep: Folders) -> None:
    result = sweep(trials=4, seeds=2, pruner="none", objective=["val_top1", "params"])
    assert any(line.startswith("val_top1, trial ") for line in result.lines())
    assert "yes" in {row["may_be_best_val_top1"] for row in sweep.rows()}
    document = json.loads((sweep.folder / "sweep.json").read_text())["chosen"]
    assert document["each"]["val_top1"]["figures"]["top1"]["found"] == max(
        t.user_attrs["val_top1"] for t in result.trials
    )


def test_what_was_lost_is_said(sweep: Folders) -> None:
    result = sweep(trials=8, seeds=2, pruner="none")
    best = result.best[0].number
    gone = (best + 1) % 8
    (sweep.folder / "outcomes" / f"{gone:05d}.npz").unlink()
    again = sweep(trials=8, seeds=2, pruner="none")
    assert [one.number for one in again.chosen.missing] == [gone]
    assert f"trial {gone} could not be compared" in "\n".join(again.lines())
    assert "that could be compared of the 8" in "\n".join(again.lines())
    file = sweep.folder / "outcomes" / f"{best:05d}.npz"
    whole = file.read_bytes()
    file.write_bytes(b"torn")
    (line,) = (one for one in sweep(trials=8, seeds=2, pruner="none").lines() if one.startswith("the best is not"))
    assert line.endswith(f"what trial {best} gave on each image is in a damaged file of outcomes/")
    file.write_bytes(whole)
    next((sweep.folder / "outcomes").glob("images-*.json")).unlink()
    assert "images-*.json is gone" in "\n".join(sweep(trials=8, seeds=2, pruner="none").lines())


def test_a_fresh_sweep_keeps_none_of_the_old_ones(sweep: Folders) -> None:
    sweep(trials=6, pruner="none")
    result = sweep(trials=2, pruner="none", space={RATE: RATES}, fresh=True)
    assert sorted(p.name for p in (sweep.folder / "outcomes").glob("*.npz")) == ["00000.npz", "00001.npz"]
    assert_kept(sweep, result)
