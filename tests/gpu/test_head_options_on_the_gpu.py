"""What heads can be asked for, on a GPU as on the CPU: outcomes by epoch, metrics, weights, normalisation, recipes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from gpu_device import DEVICE, NAME, WHERE_THERE_IS_ONE, Config, epochs_of
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from featcache.options import TrainingOptions
from featcache.options.training_options import BUILT_IN_METRICS
from heads import train_model, tune_model
from heads.runs import load_val_outcomes
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.metrics import find_metric
from heads.training.stacked_training import train_heads
from heads.training.trained_head import TrainedHead

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]

WIDTH, COUNT, CLASSES = 24, 240, 4


def trained(device: str, heads: Sequence[HeadSpec], limit_bytes: float = float("inf"), **how: Any) -> list[TrainedHead]:
    """Heads on unequal classes of features whose sizes differ by a hundred times, in two folds."""
    rng = np.random.default_rng(3)
    labels = rng.choice(CLASSES, size=COUNT, p=[0.55, 0.25, 0.15, 0.05])
    values = rng.normal(size=(CLASSES, WIDTH))[labels] + 1.5 * rng.normal(size=(COUNT, WIDTH)) + 1
    values = (values * np.geomspace(0.1, 10, WIDTH)).astype(np.float32)
    every, views = np.arange(COUNT), np.ones(COUNT, np.int64)
    folds = (Fold(every[:180], every[180:]), Fold(every[60:], every[:60]))
    rows = ArrayRows(values, every, views)
    features = Features(rows, labels, views, folds, CLASSES, torch.device(device), limit_bytes)
    return train_heads(features, heads, batch_size=16, **how)


def spec(fold: int = 0, normalise: Any = "none", **training: Any) -> HeadSpec:
    training = {"epochs": 5, "learning_rate": 0.01, "optimizer": "sgd", **training}
    return HeadSpec((WIDTH, 16, CLASSES), TrainingOptions(**training), 7, 0.2, fold, normalise)


def losses(heads: Sequence[TrainedHead]) -> list[list[float]]:
    return [[figure for row in h.curve for figure in (row.train_loss, row.val_loss)] for h in heads]


@pytest.mark.parametrize("metric", ["val_top1", "val_loss", "val_balanced_accuracy"])
def test_the_outcomes_of_every_epoch_are_those_of_its_metrics(config: Config, tmp_path: Path, metric: str) -> None:
    options = config(training={"epochs": 4, "seeds": 2, "selection_metric": metric}, data={"folds": None})
    runs = {d: train_model(options, results_dir=tmp_path / d, device=d) for d in ("cpu", NAME)}
    cpu, cuda = (load_val_outcomes(runs[d].folder / "val_outcomes.npz") for d in ("cpu", NAME))
    assert cuda.images == cpu.images and cuda.top1.shape == cpu.top1.shape == (1, 2, 4, 20)
    assert cuda.loss == pytest.approx(cpu.loss, abs=0.05)
    rows = epochs_of(runs[NAME].folder)
    assert cuda.top1[0].mean(axis=-1).ravel() == pytest.approx(rows["val_top1"], abs=1e-6)
    assert cuda.top3[0].mean(axis=-1).ravel() == pytest.approx(rows["val_top3"], abs=1e-6)
    assert cuda.loss[0, :, 0].ravel() == pytest.approx(rows["val_loss"], abs=1e-5)
    if metric == "val_top1":
        assert cuda.selected is None
    else:
        assert cuda.selected is not None and cuda.selected.shape == cuda.top1.shape
    if metric == "val_loss":
        assert -cuda.selected[0].mean(axis=-1).ravel() == pytest.approx(rows["val_loss"], abs=1e-5)


def test_outcomes_of_folds_and_of_blocks_are_the_cpus() -> None:
    heads = [spec(0), spec(1, selection_metric="val_macro_f1"), spec(0, selection_metric="val_loss")]
    for limit in (float("inf"), COUNT * WIDTH * 4 / 3):
        cpu, cuda = (trained(d, heads, limit, keep_outcomes=True) for d in ("cpu", NAME))
        for one, other in zip(cpu, cuda, strict=True):
            assert one.outcomes is not None and other.outcomes is not None
            assert other.outcomes.right.shape == one.outcomes.right.shape == (2, 5, 60)
            assert (other.outcomes.right == one.outcomes.right).mean() > 0.98
            assert other.outcomes.loss == pytest.approx(one.outcomes.loss, abs=1e-2)
            right = other.outcomes.right[0].mean(axis=-1)
            assert right == pytest.approx([row.val_top1 for row in other.curve], abs=1e-6)


@pytest.mark.parametrize("metric", ["val_balanced_accuracy", "val_macro_f1", "val_auroc"])
def test_metrics_of_a_whole_split_are_scikit_learns(metric: str) -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(CLASSES, size=(3, 200), p=[0.6, 0.2, 0.15, 0.05])
    logits = (rng.normal(size=(3, 200, CLASSES)) + np.eye(CLASSES)[labels]).astype(np.float32)
    found = find_metric(metric).values(torch.from_numpy(logits).to(DEVICE), torch.from_numpy(labels).to(DEVICE))
    expected = []
    for y, z in zip(labels, logits.astype(np.float64), strict=True):
        shares = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        expected.append(
            {
                "val_balanced_accuracy": lambda y=y, z=z: balanced_accuracy_score(y, z.argmax(axis=1)),
                "val_macro_f1": lambda y=y, z=z: f1_score(y, z.argmax(axis=1), average="macro"),
                "val_auroc": lambda y=y, p=shares: np.mean([roc_auc_score(y == c, p[:, c]) for c in range(CLASSES)]),
            }[metric]()
        )
    assert found.mean(dim=-1).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("metric", BUILT_IN_METRICS)
def test_the_best_epoch_by_any_metric_has_its_best_value(metric: str) -> None:
    (head,) = trained(NAME, [spec(selection_metric=metric, epochs=8)])
    name = metric.removeprefix("val_")
    values = [row.val(name) for row in head.curve]
    best = min(values) if name == "loss" else max(values)
    assert values[head.best_epoch] == pytest.approx(best, abs=1e-9)


def test_class_weights_and_balanced_draws_are_the_cpus() -> None:
    """Beside heads without them, in one stack."""
    heads = [
        spec(class_weights="balanced"),
        spec(class_weights={"0": 0.5, "3": 4.0}, label_smoothing=0.1),
        spec(1, balanced_draws=True),
        spec(balanced_draws=True, class_weights="balanced", optimizer="adamw", learning_rate=1e-3),
        spec(),
    ]
    for cpu, cuda in zip(losses(trained("cpu", heads)), losses(trained(NAME, heads)), strict=True):
        assert cuda == pytest.approx(cpu, rel=5e-3, abs=5e-3)


@pytest.mark.parametrize("limit_bytes", [float("inf"), COUNT * WIDTH * 4 / 3], ids=["whole", "blocks"])
@pytest.mark.parametrize("normalise", ["standard", "scale", "l2", "layernorm"])
def test_normalised_heads_are_the_cpus(normalise: str, limit_bytes: float) -> None:
    """Curves, and the weights into which what was fitted is folded."""
    heads = [spec(0, normalise), spec(1, normalise)]
    cpu, cuda = (trained(d, heads, limit_bytes) for d in ("cpu", NAME))
    for one, other in zip(cpu, cuda, strict=True):
        assert losses([other])[0] == pytest.approx(losses([one])[0], rel=1e-3, abs=1e-3)
        assert other.best_epoch == one.best_epoch
        for name, weight in one.state.items():
            scale = float(weight.abs().max())
            assert float((other.state[name].cpu() - weight).abs().max()) <= 1e-2 * scale, name


@pytest.mark.parametrize("normalise", ["none", "standard", "layernorm"])
def test_a_normalised_run_is_as_good_as_the_cpus(config: Config, tmp_path: Path, normalise: str) -> None:
    options = config(head={"normalise": normalise}, training={"epochs": 6})
    runs = [train_model(options, results_dir=tmp_path / d, device=d) for d in ("cpu", NAME)]
    assert runs[1].metrics["val_top1"] == pytest.approx(runs[0].metrics["val_top1"], abs=0.15)
    assert runs[1].metrics["val_loss"] == pytest.approx(runs[0].metrics["val_loss"], abs=0.1)


def test_the_tuned_head_is_at_least_the_uniform_one(config: Config, tmp_path: Path) -> None:
    """What `benchmark --tuned` runs: sixteen recipes in stacks by normalisation."""
    options = config(training={"epochs": 4, "seeds": 2})
    plain = train_model(options, results_dir=tmp_path, device=NAME)
    tuned = tune_model(options, results_dir=tmp_path, device=NAME)
    outcomes = load_val_outcomes(tuned.folder / "val_outcomes.npz")
    told = tuned.summary["tuned"]
    assert outcomes.top1.shape[:2] == (len(told["recipes"]), 2) and len(told["recipes"]) >= 15
    assert tuned.metrics["val_top1"] >= plain.metrics["val_top1"]
    same = load_val_outcomes(plain.folder / "val_outcomes.npz")
    assert (outcomes.top1[0] == same.top1[0]).mean() > 0.98  # the first recipe is the options' own
