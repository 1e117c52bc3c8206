"""What a report says of one run: calibration, curves, the most confident mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from heads.report.run_details import BINS, MISTAKES, calibration, detail, mistakes, softmax
from heads.runs.predictions import Predictions, save_predictions
from heads.runs.run import Run
from heads.runs.run_files import METRIC_COLUMNS


def probabilities(count: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    found = softmax(rng.normal(0, 2.5, (count, classes)).astype(np.float32))
    labels = np.where(rng.random(count) < 0.6, found.argmax(axis=1), rng.integers(0, classes, count))
    return found, labels


def test_bins_are_those_of_scikit_learn() -> None:
    found, labels = probabilities(700)
    right = (found.argmax(axis=1) == labels).astype(int)
    accuracy, confidence = calibration_curve(right, found.max(axis=1), n_bins=BINS, strategy="uniform")
    bins = calibration(found, labels).bins
    assert len(bins) >= 6 and sum(b.n for b in bins) == 700
    assert [b.accuracy for b in bins] == pytest.approx(accuracy.tolist())
    assert [b.confidence for b in bins] == pytest.approx(confidence.tolist())


def test_the_error_by_hand() -> None:
    """Three images at 0.95 (two right), one at 0.55 (wrong): 3/4 |0.95 - 2/3| + 1/4 |0.55 - 0|."""
    found = np.array([[0.95, 0.05], [0.95, 0.05], [0.05, 0.95], [0.55, 0.45]])
    assert calibration(found, np.array([0, 1, 1, 1])).error == pytest.approx(0.75 * (0.95 - 2 / 3) + 0.25 * 0.55)


def test_one_that_is_sure_and_right_has_no_error() -> None:
    found = calibration(np.eye(4), np.arange(4))
    assert found.error == 0
    assert [(b.confidence, b.accuracy, b.n) for b in found.bins] == [(1.0, 1.0, 4)]


def test_softmax_of_large_logits() -> None:
    found = softmax(np.array([[1e4, 0.0], [-1e4, -1e4]], dtype=np.float32))
    assert found.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_mistakes_are_the_surest_first() -> None:
    found, labels = probabilities(300)
    images = tuple(f"val/{i}.png" for i in range(300))
    shown = mistakes(found, Predictions(np.log(found)[None].astype(np.float32), labels, images))
    assert len(shown) == MISTAKES
    wrong = [i for i in range(300) if found[i].argmax() != labels[i]]
    expected = sorted(wrong, key=lambda i: -found[i].max())[:MISTAKES]
    assert [m.image for m in shown] == [images[i] for i in expected]
    for i, one in zip(expected, shown, strict=True):
        assert (one.label, one.predicted) == (labels[i], found[i].argmax()) and one.label != one.predicted
        assert one.probability == pytest.approx(found[i].max())


def test_nothing_is_mistaken_where_all_is_right() -> None:
    seen = Predictions(np.eye(3, dtype=np.float32)[None], np.arange(3), ("a", "b", "c"))
    assert mistakes(np.eye(3), seen) == ()


def write_metrics(file: Path, rows: list[dict[str, object]]) -> None:
    lines = [",".join(METRIC_COLUMNS)]
    lines += [",".join(str(row.get(c, 0)) for c in METRIC_COLUMNS) for row in rows]
    file.write_text("\n".join([*lines, ""]))


def run_in(folder: Path, best_seed: int = 0) -> Run:
    return Run(folder, {"seeds": [{"seed": 3}, {"seed": 5}], "best_seed": best_seed}, {})


def test_curves_are_mean_and_range_of_the_seeds_that_got_there(tmp_path: Path) -> None:
    rows = [
        {"epoch": 0, "seed": 3, "train_loss": 1.0, "val_loss": 2.0, "val_top1": 0.5},
        {"epoch": 1, "seed": 3, "train_loss": 0.5, "val_loss": 1.5, "val_top1": 0.75},
        {"epoch": 0, "seed": 5, "train_loss": 2.0, "val_loss": 3.0, "val_top1": 0.25},
        {"epoch": 1, "seed": 5, "train_loss": "nan", "val_loss": "inf", "val_top1": 0.25},
        {"epoch": 10, "seed": 3, "train_loss": 0.1, "val_loss": 1.0, "val_top1": 1.0},
    ]
    write_metrics(tmp_path / "metrics.csv", rows)
    found = {(p.curve, p.epoch): (p.mean, p.low, p.high) for p in detail(run_in(tmp_path, 3)).curves}
    assert found["train_loss", 0] == (1.5, 1.0, 2.0)
    assert found["train_loss", 1] == (0.5, 0.5, 0.5)  # what diverged has no value to draw
    assert found["val_loss", 1] == (1.5, 1.5, 1.5)
    assert found["val_top1", 1] == (0.5, 0.25, 0.75)
    epochs = [p.epoch for p in detail(run_in(tmp_path, 3)).curves if p.curve == "val_top1"]
    assert epochs == [0, 1, 10]


def test_the_kept_seed_is_judged(tmp_path: Path) -> None:
    right, wrong = np.eye(3, dtype=np.float32) * 9, np.roll(np.eye(3, dtype=np.float32), 1, axis=1) * 9
    seen = Predictions(np.stack([right, wrong]), np.arange(3), ("a", "b", "c"))
    save_predictions(tmp_path / "predictions.npz", {"val": seen})
    assert detail(run_in(tmp_path, 3)).mistakes == ()
    other = detail(run_in(tmp_path, 5))
    assert {m.image for m in other.mistakes} == {"a", "b", "c"}
    assert other.calibration is not None and other.calibration.error > 0.9


def test_an_empty_folder_has_no_details(tmp_path: Path) -> None:
    found = detail(run_in(tmp_path, 3))
    assert (found.curves, found.calibration, found.mistakes) == ((), None, ())
    assert (found.options, found.environment) == ({}, {})
