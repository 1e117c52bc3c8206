"""Metrics of the whole split from options to files: chosen by, written, ranked beside, searched for."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from sklearn.metrics import f1_score, recall_score, roc_auc_score

from featcache.records import Split
from heads import train_model
from heads.finetune import fine_tune
from heads.leaderboard import rank_results
from heads.runs.predictions import Predictions, load_predictions
from heads.runs.run import Run
from heads.search import SweepOptions, run_sweep

Config = Callable[..., dict[str, Any]]
WHOLE = ("balanced_accuracy", "macro_f1", "auroc")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def uneven(digits: Path) -> Path:
    """The digits with two images of the last class in val."""
    for file in sorted((digits / "val" / "digit 3").iterdir())[2:]:
        file.unlink()
    return digits


def by_sklearn(name: str, seen: Predictions) -> float:
    """Mean over heads."""
    logits = seen.logits.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = {
        "balanced_accuracy": [recall_score(seen.labels, x.argmax(1), average="macro") for x in logits],
        "macro_f1": [f1_score(seen.labels, x.argmax(1), average="macro") for x in logits],
        "auroc": [roc_auc_score(seen.labels, x, multi_class="ovr") for x in p],
    }
    return float(np.mean(found[name]))


def assert_tells(run: Run) -> None:
    summary = json.loads((run.folder / "summary.json").read_text())
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        seen = load_predictions(run.folder / "predictions.npz", split)
        for name in WHOLE:
            figure = summary[split][name]
            assert figure["mean"] == pytest.approx(by_sklearn(name, seen), abs=1e-9)
            assert 0 <= figure["ci95"][0] <= figure["mean"] <= figure["ci95"][1] <= 1
            assert figure["n"] == len(seen.images)


@pytest.mark.parametrize("folds", [None, 2])
def test_a_run_chooses_by_one_and_tells_all(config: Config, uneven: Path, tmp_path: Path, folds: int | None) -> None:
    options = config(
        model={"backbone": TINY},
        data={"folds": folds},
        training={"seeds": 2, "epochs": 6, "learning_rate": 3e-4, "selection_metric": "val_macro_f1"},
    )
    run = train_model(options, results_dir=tmp_path / "results", allow_custom=True)
    assert_tells(run)
    curve = rows_of(run.folder / "metrics.csv")
    assert {c for c in curve[0] if c.startswith("val_")} == {"val_loss", "val_top1", "val_top3", "val_macro_f1"}
    summary = run.summary
    best = [float(r["val_macro_f1"]) for r in curve if (int(r["seed"]), int(r["fold"])) == _kept(summary)]
    assert best[run.best_epoch] == max(best)
    if folds is None:  # with folds the run's figure is of all out-of-fold predictions at once
        assert summary["val"]["macro_f1"]["mean"] == pytest.approx(
            np.mean([s["val_macro_f1"] for s in summary["seeds"]])
        )
        assert max(best) == pytest.approx(max(s["val_macro_f1"] for s in summary["seeds"]), abs=1e-6)
    (row,) = rank_results(tmp_path / "results").board.rows
    for name in WHOLE:
        assert row.value(f"val_{name}") == pytest.approx(summary["val"][name]["mean"])
        assert row.value(f"val_{name}_high") == pytest.approx(summary["val"][name]["ci95"][1])
        assert row.value(f"test_{name}") == pytest.approx(summary["test"][name]["mean"])


def _kept(summary: dict[str, Any]) -> tuple[int, int]:
    return summary["best_seed"], summary["best_fold"] or 0


def test_fine_tuning_is_judged_by_them(config: Config, uneven: Path, tmp_path: Path) -> None:
    training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}]}
    options = config(model={"backbone": TINY}, training={**training, "selection_metric": "val_balanced_accuracy"})
    run = fine_tune(options, results_dir=tmp_path / "results", allow_custom=True)
    assert_tells(run)
    curve = [float(r["val_balanced_accuracy"]) for r in rows_of(run.folder / "metrics.csv")]
    assert curve[run.best_epoch + 1] == max(curve)  # after the start
    assert max(curve) == pytest.approx(run.metrics["val_balanced_accuracy"], abs=1e-6)


def test_a_sweep_follows_one(config: Config, uneven: Path, tmp_path: Path) -> None:
    sweep = SweepOptions.model_validate(
        {
            "base": "x.json",
            "space": {"training.class_weights": [None, "balanced"], "training.balanced_draws": [False, True]},
            "sampler": "grid",
            "objective": "val_balanced_accuracy",
        }
    )
    found = run_sweep(sweep, config(model={"backbone": TINY}), results_dir=tmp_path / "results", allow_custom=True)
    rows = rows_of(found.folder / "trials.csv")
    assert {row["state"] for row in rows} == {"complete"}
    values = [float(row["val_balanced_accuracy"]) for row in rows]
    for row, value in zip(rows, values, strict=True):
        assert float(row["value_val_balanced_accuracy"]) == pytest.approx(value, abs=2e-6)
        assert row["val_auroc"] == ""  # nobody asked
    best = json.loads((found.folder / "best.json").read_text())
    run = train_model(best, results_dir=tmp_path / "results", allow_custom=True)
    assert run.metrics["val_balanced_accuracy"] == pytest.approx(max(values))
