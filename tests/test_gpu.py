"""What only a GPU shows: the same run on CUDA as on the CPU, within float tolerance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache import load_run
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from featcache.options.training_options import TrainingOptions
from heads import train_model
from heads.training.features import ArrayRows, Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

Config = Callable[..., dict[str, Any]]


def on_each(config: Config, tmp_path: Path, **sections: dict[str, Any]) -> list[Any]:
    return [
        extract(
            parse_options(config(cache={"dir": str(tmp_path / device), "dtype": "float32"}, **sections)), device=device
        )
        for device in ("cpu", "cuda")
    ]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-2), ("bfloat16", 5e-2), ("float16", 2e-2)])
def test_features_agree_with_the_cpus(config: Config, tmp_path: Path, precision: str, tolerance: float) -> None:
    cpu, cuda = on_each(config, tmp_path, training={"precision": precision})
    hashes = list(cpu.store.rows())
    a, b = (torch.from_numpy(e.store.read(hashes)) for e in (cpu, cuda))
    assert float((a - b).norm() / a.norm()) < tolerance


def test_the_profile_is_of_the_device(config: Config, tmp_path: Path) -> None:
    _, cuda = on_each(config, tmp_path)
    assert cuda.profile.device == torch.cuda.get_device_name()
    assert cuda.profile.peak_memory_kind == "device memory allocated"
    assert 0 < cuda.profile.peak_memory_bytes < torch.cuda.get_device_properties(0).total_memory


def test_every_precision_and_batch_size_is_measured(config: Config) -> None:
    profile = {"batch_sizes": [1, 8], "precisions": ["bfloat16", "float16"], "iterations": 5}
    measured = extract(parse_options(config(profile=profile)), device="cuda").profile
    assert len(measured.measurements) == 6
    assert all(m.latency_ms.p50 > 0 for m in measured.measurements)
    assert measured.backbone_ms.mean + measured.head_ms.mean == pytest.approx(measured.latency_ms.mean)


def test_features_do_not_depend_on_the_images_beside() -> None:
    from featcache.backbones import load_backbone
    from featcache.extraction.inference import Inference
    from featcache.options.model_options import ModelOptions

    backbone = load_backbone(ModelOptions(backbone="resnet18", input_size=64, pretrained=False))
    infer = Inference(backbone, torch.device("cuda"), 8)
    images = torch.randint(0, 256, (19, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(infer(images[5:6]), infer(images)[5:6])


def test_a_run_on_the_gpu_is_as_good_and_comes_back(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(training={"epochs": 30, "seeds": 3})
    runs = [train_model(options, results_dir=tmp_path / d, device=d) for d in ("cpu", "cuda")]
    assert runs[0].metrics["val_top1"] == pytest.approx(runs[1].metrics["val_top1"], abs=0.1)
    loaded = load_run(runs[1].folder, device="cuda")
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


def test_heads_train_as_on_the_cpu() -> None:
    """Eager steps, captured ones, the padded last batch, heads that stop, and a block at a time."""
    rng = np.random.default_rng(0)
    n, width = 203, 24
    labels = rng.integers(4, size=n)
    values = (rng.normal(size=(4, width))[labels] + 2 * rng.normal(size=(n, width))).astype(np.float32)
    every, views = np.arange(n), np.ones(n, np.int64)
    folds = (Fold(every[:150], every[150:]), Fold(every[51:], every[:51]))

    def curves(device: str, limit_bytes: float) -> list[list[float]]:
        rows = ArrayRows(values, every, views)
        features = Features(rows, labels, views, folds, 4, torch.device(device), limit_bytes)
        heads = [
            HeadSpec((width, 16, 4), TrainingOptions(epochs=5, learning_rate=0.003, optimizer="adamw"), 1, 0.3),
            HeadSpec((width, 16, 4), TrainingOptions(epochs=6, learning_rate=0.01, optimizer="sgd"), 1, 0.0),
            HeadSpec((width, 16, 4), TrainingOptions(epochs=6, optimizer="adam", label_smoothing=0.1), 2, 0.5, 1),
            HeadSpec((width, 4), TrainingOptions(epochs=6, scheduler="cosine", warmup_epochs=2), 3),
        ]
        trained = train_heads(features, heads, batch_size=16)
        return [[figure for r in t.curve for figure in (r.train_loss, r.val_loss)] for t in trained]

    for limit_bytes in (float("inf"), values.nbytes / 3):
        for cpu, cuda in zip(curves("cpu", limit_bytes), curves("cuda", limit_bytes), strict=True):
            assert cuda == pytest.approx(cpu, abs=1e-4)


def test_many_heads_give_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    options = config(training={"epochs": 5, "seeds": 40})
    runs = [train_model(options, results_dir=tmp_path / name, device="cuda") for name in "ab"]
    assert runs[0].metrics == runs[1].metrics


SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all", "lr_scale": 0.1}]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-2), ("bfloat16", 1e-1), ("float16", 1e-1)])
def test_end_to_end_training_follows_the_cpus(config: Config, tmp_path: Path, precision: str, tolerance: float) -> None:
    """While a part is frozen: once batch norms train, rounding grows with every step."""
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "precision": precision}
    options = config(model={"input_size": 64}, training=training)
    curves = []
    for device in ("cpu", "cuda"):
        run = train_model(options, results_dir=tmp_path / device, device=device)
        rows = np.genfromtxt(run.folder / "metrics.csv", delimiter=",", names=True, usecols=range(8))
        curves.append(rows["train_loss"][:4])
        assert np.isfinite(rows["val_loss"]).all()
    assert curves[1] == pytest.approx(curves[0], rel=tolerance)


def test_end_to_end_training_gives_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "ema_decay": 0.9}
    options = config(model={"input_size": 64}, training=training)
    runs = [train_model(options, results_dir=tmp_path / name, device="cuda") for name in "ab"]
    assert runs[0].metrics == runs[1].metrics


def test_a_batch_that_does_not_fit_the_gpu_is_halved(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have so little memory that a whole batch of activations does not fit."""
    training = {"epochs": 1, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]}
    options = config(model={"input_size": 224}, data={"batch_size": 48}, training=training)
    extract(parse_options(options), device="cuda")
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 600e6) / whole)
    try:
        train_model(options, results_dir=tmp_path / "results", device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "gradients accumulated" in caplog.text
