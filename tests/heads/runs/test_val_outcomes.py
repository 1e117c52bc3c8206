"""val_outcomes.npz: what it says agrees with the curve and with the predictions, and comes back as it was."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY

from heads import train_model
from heads.runs.predictions import load_predictions
from heads.runs.run import Run
from heads.runs.val_outcomes import ValOutcomes, checked_outcomes, load_val_outcomes, save_val_outcomes, val_outcomes_of

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Run]


@pytest.fixture
def train(config: Config, tmp_path: Path) -> Train:
    def run(**sections: dict[str, Any]) -> Run:
        sections["model"] = {"backbone": TINY}
        return train_model(config("run", **sections), results_dir=tmp_path / "results", allow_custom=True)

    return run


def rows_of(run: Run) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("folds", [None, 3])
def test_the_outcomes_of_a_run_are_those_of_its_curve_and_its_predictions(train: Train, folds: int | None) -> None:
    run = train(data={"folds": folds}, training={"seeds": 2, "epochs": 5, "learning_rate": 3e-4})
    outcomes = load_val_outcomes(run.folder / "val_outcomes.npz")
    seen = load_predictions(run.folder / "predictions.npz", "val")
    assert outcomes.images == seen.images
    assert outcomes.top1.shape == outcomes.top3.shape == (1, 2, 5, len(seen.images))
    assert outcomes.epochs.tolist() == [[[5] * (folds or 1)] * 2]
    assert outcomes.best == 0
    assert outcomes.selected is None
    for row in rows_of(run):
        seed, fold, epoch = int(row["seed"]) - 42, int(row["fold"]), int(row["epoch"])
        own = outcomes.fold == fold
        for name, values in (("val_top1", outcomes.top1), ("val_top3", outcomes.top3)):
            assert values[0, seed, epoch, own].mean() == pytest.approx(float(row[name]))
        assert outcomes.loss[0, seed, fold, epoch] == pytest.approx(float(row["val_loss"]))
    summary = json.loads((run.folder / "summary.json").read_text())
    for seed in range(2):
        assert np.ravel(summary["seeds"][seed]["best_epoch"]).tolist() == outcomes.chosen[0, seed].tolist()
        kept = outcomes.top1[0, seed, outcomes.chosen[0, seed, outcomes.fold], np.arange(len(seen.images))]
        assert kept.tolist() == (seen.logits[seed].argmax(1) == seen.labels).tolist()
        assert outcomes.answers is not None
        answers = outcomes.answers[0, seed, outcomes.chosen[0, seed, outcomes.fold], np.arange(len(seen.images))]
        assert np.array_equal(answers, seen.logits[seed].argmax(1))
        assert 0 < kept.mean() < 1
    assert np.array_equal(outcomes.answers == seen.labels, outcomes.top1)
    checked_outcomes(run.folder, seen)
    for answers, why in (((outcomes.answers + 1) % 3, "of another run"), (outcomes.answers + 0.5, "damaged")):
        save_val_outcomes(run.folder / "val_outcomes.npz", replace(outcomes, answers=answers))
        with pytest.raises(ValueError, match=why):
            checked_outcomes(run.folder, seen)


def test_epochs_that_were_never_trained_are_said(train: Train) -> None:
    run = train(training={"seeds": 3, "epochs": 40, "patience": 2, "learning_rate": 0.003})
    outcomes = load_val_outcomes(run.folder / "val_outcomes.npz")
    trained = [sum(int(row["seed"]) == 42 + s for row in rows_of(run)) for s in range(3)]
    assert outcomes.epochs[0, :, 0].tolist() == trained
    assert len(set(trained)) > 1
    assert outcomes.loss.shape == (1, 3, 1, max(trained))
    for s, last in enumerate(trained):
        assert np.isfinite(outcomes.loss[0, s, 0, :last]).all()
        assert np.isnan(outcomes.loss[0, s, 0, last:]).all()
        assert not outcomes.top1[0, s, last:].any()
        assert outcomes.answers is not None
        assert (outcomes.answers[0, s, last:] == -1).all()


def test_another_selection_metric_is_kept_image_by_image(train: Train) -> None:
    run = train(training={"selection_metric": "val_loss"})
    outcomes = load_val_outcomes(run.folder / "val_outcomes.npz")
    assert outcomes.selected is not None
    assert np.allclose(outcomes.selected[0, 0].mean(axis=-1), -outcomes.loss[0, 0, 0], atol=1e-5)
    assert outcomes.selected[0, 0].mean(axis=-1).argmax() == outcomes.chosen[0, 0, 0]


def made(selected: bool) -> ValOutcomes:
    rng = np.random.default_rng(0)
    shape = (2, 3, 4, 13)  # 13 images: the last byte of bits is not full
    return ValOutcomes(
        images=tuple(f"val/ä {i}.png" for i in range(13)),
        fold=np.arange(13) % 2,
        top1=rng.random(shape) < 0.5,
        top3=rng.random(shape) < 0.8,
        loss=rng.random((2, 3, 2, 4)),
        epochs=np.full((2, 3, 2), 4),
        chosen=rng.integers(4, size=(2, 3, 2)),
        best=1,
        selected=rng.random(shape).astype(np.float32) if selected else None,
    )


@pytest.mark.parametrize("selected", [False, True])
def test_what_is_saved_comes_back(tmp_path: Path, selected: bool) -> None:
    before = made(selected)
    save_val_outcomes(tmp_path / "val_outcomes.npz", before)
    after = val_outcomes_of(tmp_path)
    assert after is not None
    assert (after.images, after.best) == (before.images, before.best)
    for name in ("fold", "top1", "top3", "loss", "epochs", "chosen"):
        assert getattr(after, name).dtype == getattr(before, name).dtype
        assert np.array_equal(getattr(after, name), getattr(before, name))
    if before.selected is None:
        assert after.selected is None
    else:
        assert np.array_equal(after.selected, before.selected)


def test_equal_outcomes_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_val_outcomes(tmp_path / name, made(True))
    assert Path(f"{tmp_path / 'a'}.npz").read_bytes() == Path(f"{tmp_path / 'b'}.npz").read_bytes()


def test_older_runs_and_damaged_files_have_none(tmp_path: Path) -> None:
    assert val_outcomes_of(tmp_path) is None
    file = tmp_path / "val_outcomes.npz"
    save_val_outcomes(file, made(False))
    whole = file.read_bytes()
    for damaged in (b"", b"not a zip", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert val_outcomes_of(tmp_path) is None
    with np.load(_saved(file)) as arrays:
        kept = dict(arrays)
    for name, values in (
        ("top1", kept["top1"][..., :0]),
        ("fold", kept["fold"] + 7),
    ):  # images; folds that are not there
        np.savez(file, **{**kept, name: values})
        assert val_outcomes_of(tmp_path) is None
    np.savez(file, **{**kept, "top1": kept["top1"][:, :2]})  # a seed is missing
    with pytest.raises(ValueError, match="is damaged"):
        load_val_outcomes(file)


def _saved(file: Path) -> Path:
    save_val_outcomes(file, made(False))
    return file
