"""A run never ends below where it began: the state before the first epoch takes part in the choice of the epoch."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heads import train_model
from heads.finetune import fine_tune
from heads.leaderboard import leaderboard
from heads.runs.predictions import load_predictions
from heads.runs.run import Run, finished_runs
from heads.runs.val_outcomes import checked_outcomes

Config = Callable[..., dict[str, Any]]


def tuned(config: Config, tmp_path: Path, rate: float) -> tuple[Run, Run]:
    """A run of heads, and what goes on from it at a rate that helps or ruins."""
    made = train_model(config("heads", training={"epochs": 30, "learning_rate": 0.003}), results_dir=tmp_path)
    training = {
        "epochs": 3,
        "learning_rate": rate,
        "optimizer": "sgd",
        "selection_metric": "val_loss",
        "unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}],
    }
    return made, fine_tune(config("tuned", training=training), results_dir=tmp_path, from_run=made.folder)


def test_what_no_epoch_is_better_than_is_kept(config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="featcache"):
        made, run = tuned(config, tmp_path, 1.0)
    assert "no epoch was better on val than the start" in caplog.text
    assert run.best_epoch == -1 and run.summary["seeds"][0]["best_epoch"] == -1
    kept, head = (torch.load(r.folder / "best_model.pth", weights_only=True) for r in (run, made))
    assert all(torch.equal(kept["head"][name], value) for name, value in head["head"].items())
    for split in ("val", "test"):
        own, of_heads = (load_predictions(r.folder / "predictions.npz", split) for r in (run, made))
        assert np.allclose(own.logits, of_heads.logits, atol=1e-3), split
    gain = next(r.gain_top1 for r in leaderboard(finished_runs(tmp_path)).rows if r.phase == 2)
    assert gain == pytest.approx(0)


def test_the_start_is_an_epoch_of_its_own_that_corrections_count(config: Config, tmp_path: Path) -> None:
    made, run = tuned(config, tmp_path, 1e-4)
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [-1, 0, 1, 2]
    assert rows[0]["train_loss"] == "nan" and rows[0]["blocks"] == ""
    assert float(rows[0]["val_loss"]) == pytest.approx(made.metrics["val_loss"], rel=1e-3)
    assert run.summary["seeds"][0]["epochs"] == 3
    outcomes = checked_outcomes(run.folder, load_predictions(run.folder / "predictions.npz", "val"))
    assert outcomes.epochs.item() == 4 and outcomes.chosen.item() == run.best_epoch + 1
    assert outcomes.top1[0, 0].mean(axis=1) == pytest.approx([float(row["val_top1"]) for row in rows])
