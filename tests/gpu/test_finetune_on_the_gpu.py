"""Training end to end on a GPU: in each precision, stopped and resumed, halved, compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gpu_device import (
    COMPILER,
    CUDA_ONLY,
    DEVICE,
    NAME,
    TF32,
    WHERE_THERE_IS_ONE,
    Config,
    epochs_of,
    so_much_more_memory,
)

from featcache.extraction import extract
from featcache.options import TrainingOptions, parse_options
from featcache.records import Silent
from heads import train_model
from heads.finetune import fine_tune
from heads.training import torch_optimiser

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]


SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all", "lr_scale": 0.1}]


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 2e-2), ("bfloat16", 1e-1), ("float16", 1e-1), pytest.param("tf32", 3e-2, marks=TF32)],
)
def test_end_to_end_training_follows_the_cpus(config: Config, tmp_path: Path, precision: str, tolerance: float) -> None:
    """While a part is frozen: once batch norms train, rounding grows with every step."""
    losses = []
    for device, how in (("cpu", "float32"), (NAME, precision)):  # a CPU takes half a minute in float16
        training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "precision": how}
        options = config(model={"input_size": 64}, training=training)
        run = train_model(options, results_dir=tmp_path / device, device=device)
        rows = epochs_of(run.folder)
        losses.append(rows["train_loss"][:4])
        assert np.isfinite(rows["val_loss"]).all()
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)


class StopAfter(Silent):
    """Ctrl-C once so many epochs of a training are committed."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def advance(self, steps: int, note: str = "") -> None:
        if "val top-1" in note:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize(("epochs", "precision"), [(3, "float32"), (5, "float16"), (3, "bfloat16"), (5, "float32")])
def test_a_stopped_training_goes_on_to_the_same_bits(
    config: Config, tmp_path: Path, precision: str, epochs: int
) -> None:
    """Dropout within the network draws on the GPU; optimiser, average and gradient scaler come back to it."""
    options = config(
        model={"backbone": "resume_networks:normed"},
        data={"augmentations": ["horizontal_flip", "rotation"], "views": 2},
        training={
            "epochs": 6,
            "unfreeze_schedule": SCHEDULE,
            "learning_rate": 0.02,
            "precision": precision,
            "ema_decay": 0.9,
        },
    )

    def tune(results: str, **how: Any) -> dict[str, torch.Tensor]:
        run = fine_tune(options, results_dir=tmp_path / results, device=NAME, allow_custom=True, reuse=True, **how)
        model = torch.load(run.folder / "best_model.pth", weights_only=True)
        metrics = np.genfromtxt(run.folder / "metrics.csv", delimiter=",", names=True, usecols=range(7))
        metrics = metrics[metrics["epoch"] >= 0]
        losses = torch.tensor([metrics["train_loss"], metrics["val_loss"]])
        return {"losses": losses, **model["head"], **model["network"]}

    whole = tune("whole")
    with pytest.raises(KeyboardInterrupt):
        tune("stopped", progress=StopAfter(epochs))
    again = tune("stopped")
    assert again.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(again[name], whole[name])] == []


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_the_fused_kernel_takes_the_optimisers_own_steps(optimizer: str) -> None:
    """Beside PyTorch's loop over tensors, on gradients that a scaler of float16 has scaled too."""
    training = TrainingOptions.model_validate({"optimizer": optimizer, "learning_rate": 1e-2})
    plain = {
        "adamw": lambda p: torch.optim.AdamW(p, 1e-2, weight_decay=0.01, foreach=False, fused=False),
        "adam": lambda p: torch.optim.Adam(p, 1e-2, weight_decay=0.01, foreach=False, fused=False),
        "sgd": lambda p: torch.optim.SGD(p, 1e-2, 0.9, weight_decay=0.01, foreach=False, fused=False),
    }[optimizer]
    start = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((64, 33), (64,), (4, 64))]
    found = []
    for make in (lambda p: torch_optimiser(training, [p]), plain):
        params = [torch.nn.Parameter(one.clone().to(DEVICE)) for one in start]
        chosen, scaler = make(params), torch.amp.GradScaler(NAME, init_scale=1024.0)
        draws = torch.Generator().manual_seed(2)
        for _ in range(20):
            for one in params:
                one.grad = scaler.scale(torch.randn(one.shape, generator=draws).to(DEVICE))
            scaler.step(chosen)
            scaler.update()
        found.append(torch.cat([one.detach().flatten().cpu() for one in params]))
    assert torch.allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_end_to_end_training_gives_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "ema_decay": 0.9}
    options = config(model={"input_size": 64}, training=training)
    runs = [train_model(options, results_dir=tmp_path / name, device=NAME) for name in "ab"]
    assert runs[0].metrics == runs[1].metrics


EVERYTHING_ON = {
    "mixup": 0.2,
    "cutmix": 1.0,
    "clip_norm": 1.0,
    "accumulate": 2,
    "lr_decay_per_block": 0.8,
    "label_smoothing": 0.1,
    "ema_decay": 0.9,
}


@pytest.mark.parametrize(("precision", "channels_last"), [("float32", False), ("bfloat16", True), ("float16", True)])
def test_end_to_end_training_with_everything_on(
    config: Config, tmp_path: Path, precision: str, channels_last: bool
) -> None:
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "precision": precision}
    options = config(
        model={"backbone": "resnet18", "input_size": 64},
        data={"augmentations": ["horizontal_flip", "random_crop"], "views": 2},
        training={**training, **EVERYTHING_ON, "channels_last": channels_last},
    )
    run = train_model(options, results_dir=tmp_path, device=NAME)
    rows = epochs_of(run.folder)
    assert np.isfinite(rows["train_loss"]).all() and np.isfinite(rows["val_loss"]).all()


def test_weights_draws_and_metrics_reach_end_to_end_training(config: Config, tmp_path: Path) -> None:
    """On the CPU and on the GPU alike, while a part is frozen."""
    losses = []
    for device in ("cpu", NAME):
        training = {"class_weights": "balanced", "balanced_draws": True, "selection_metric": "val_balanced_accuracy"}
        schedule = [{"epoch": 1, "unfreeze": "last_block"}]
        options = config(
            model={"backbone": "resume_networks:steady"},
            head={"normalise": "standard"},
            training={**training, "epochs": 3, "unfreeze_schedule": schedule, "learning_rate": 1e-3},
        )
        run = fine_tune(options, results_dir=tmp_path / device, device=device, allow_custom=True)
        losses.append(epochs_of(run.folder)["train_loss"])
        assert 0 <= run.metrics["val_balanced_accuracy"] <= 1
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


@CUDA_ONLY
def test_a_batch_that_does_not_fit_the_gpu_is_halved(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have so little memory that a whole batch of activations does not fit."""
    training = {"epochs": 1, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]}
    options = config(model={"input_size": 224}, data={"batch_size": 48}, training=training)
    extract(parse_options(options), device=NAME)
    with so_much_more_memory(600e6):
        train_model(options, results_dir=tmp_path / "results", device=NAME)
    assert "gradients are accumulated" in caplog.text


@COMPILER
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_training_follows_the_plain_one(config: Config, tmp_path: Path) -> None:
    losses = []
    for compiled in (False, True):
        training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}], "compile": compiled}
        options = config(model={"backbone": "resume_networks:steady"}, training=training)
        run = fine_tune(options, results_dir=tmp_path / str(compiled), device=NAME, allow_custom=True)
        losses.append([run.metrics["val_loss"], run.metrics["val_top1"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2, abs=0.06)
