"""Heads on a GPU: captured, launched one by one, in blocks; as the CPU's, as alone, the same bits twice."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from gpu_device import (
    CUDA_ONLY,
    DEVICE,
    NAME,
    WHERE_THERE_IS_ONE,
    Config,
)

from featcache import load_run
from featcache.backbones import load_backbone
from featcache.extraction import Inference
from featcache.options import ModelOptions, TrainingOptions
from heads import train_model
from heads.search import SweepOptions, run_sweep
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]


WIDTH, ROWS = 24, 203
HEADS = [
    HeadSpec((WIDTH, 16, 4), TrainingOptions(epochs=5, learning_rate=0.003, optimizer="adamw"), 1, 0.3),
    HeadSpec((WIDTH, 16, 4), TrainingOptions(epochs=6, learning_rate=0.01, optimizer="sgd"), 1, 0.0),
    HeadSpec((WIDTH, 16, 4), TrainingOptions(epochs=6, optimizer="adam", label_smoothing=0.1), 2, 0.5, 1),
    HeadSpec((WIDTH, 4), TrainingOptions(epochs=6, scheduler="cosine", warmup_epochs=2), 3),
]


def curves(device: str, limit_bytes: float = float("inf"), heads: Sequence[HeadSpec] = HEADS) -> list[list[float]]:
    """The losses of each head, epoch by epoch, on features that are held whole or come in blocks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=ROWS)
    values = (rng.normal(size=(4, WIDTH))[labels] + 2 * rng.normal(size=(ROWS, WIDTH))).astype(np.float32)
    every, views = np.arange(ROWS), np.ones(ROWS, np.int64)
    folds = (Fold(every[:150], every[150:]), Fold(every[51:], every[:51]))
    features = Features(ArrayRows(values, every, views), labels, views, folds, 4, torch.device(device), limit_bytes)
    trained = train_heads(features, heads, batch_size=16)
    return [[figure for r in t.curve for figure in (r.train_loss, r.val_loss)] for t in trained]


@pytest.mark.parametrize("limit_bytes", [float("inf"), ROWS * WIDTH * 4 / 3])
def test_heads_train_as_on_the_cpu(limit_bytes: float) -> None:
    """Eager steps, captured ones, the padded last batch, heads that stop, and a block at a time."""
    for cpu, cuda in zip(curves("cpu", limit_bytes), curves(NAME, limit_bytes), strict=True):
        assert cuda == pytest.approx(cpu, abs=1e-4)


def test_captured_steps_are_those_that_are_launched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = curves(NAME)
    monkeypatch.setattr("heads.training.cuda_graph.EAGER_STEPS", 10**9)
    for one, other in zip(captured, curves(NAME), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_head_alone_trains_as_in_a_stack() -> None:
    for head, stacked in zip(HEADS, curves(NAME), strict=True):
        assert curves(NAME, heads=[head])[0] == pytest.approx(stacked, abs=1e-5)


def test_a_run_on_the_gpu_is_as_good_and_comes_back(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(training={"epochs": 30, "seeds": 3})
    runs = [train_model(options, results_dir=tmp_path / d, device=d) for d in ("cpu", NAME)]
    assert runs[0].metrics["val_top1"] == pytest.approx(runs[1].metrics["val_top1"], abs=0.1)
    loaded = load_run(runs[1].folder, device=NAME)
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


def test_many_heads_give_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    options = config(training={"epochs": 5, "seeds": 40})
    runs = [train_model(options, results_dir=tmp_path / name, device=NAME) for name in "ab"]
    assert runs[0].metrics == runs[1].metrics


@CUDA_ONLY
def test_heads_leave_no_memory_behind() -> None:
    """Heads that train next may need it before Python looks for circles; cuBLAS's workspaces stay."""
    curves(NAME)
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated()
        curves(NAME)
        assert torch.cuda.memory_allocated() <= before
    finally:
        gc.enable()


@CUDA_ONLY
def test_the_callers_generator_stays_as_it_was() -> None:
    before = torch.cuda.get_rng_state()
    backbone = load_backbone(ModelOptions(backbone="squeezenet1_1", input_size=64, pretrained=False))
    Inference(backbone, DEVICE, 8)
    curves(NAME, heads=HEADS[:1])
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_sweep_on_the_gpu_finds_what_the_cpus_finds(config: Config, tmp_path: Path) -> None:
    """Rates of many heads in one stack, some of which are stopped early."""
    base = config(training={"epochs": 8})
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "model.dropout": [0.0, 0.3]}
    sweep = SweepOptions.model_validate(
        {"name": "s", "base": base, "space": space, "sampler": "random", "trials": 12, "batch": 6}
    )
    values = []
    for device in ("cpu", NAME):
        result = run_sweep(sweep, base, results_dir=tmp_path / device, device=device)
        values.append([t.value for t in result.trials if t.value is not None])
    assert len(values[0]) == len(values[1]) > 0
    assert max(values[1]) == pytest.approx(max(values[0]), abs=0.1)
