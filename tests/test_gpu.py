"""What only a GPU shows: the same run on CUDA as on the CPU, within float tolerance."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from array_rows import ArrayRows

from featcache import load_run
from featcache.backbones import load_backbone
from featcache.extraction import Inference, extract
from featcache.options import ModelOptions, TrainingOptions, parse_options
from featcache.profiling.macs import count_macs
from featcache.records import Silent
from heads import train_model
from heads.finetune import fine_tune
from heads.search import SweepOptions, run_sweep
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

Config = Callable[..., dict[str, Any]]
CUDA = torch.device("cuda")
IMAGES = torch.randint(0, 256, (19, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def inference(name: str, batch_size: int, precision: str = "float32", **extra: bool) -> Inference:
    model = ModelOptions(backbone=name, input_size=64, pretrained=False)
    return Inference(load_backbone(model, precision=precision), CUDA, batch_size, **extra)


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest distance of two rows of features, as a fraction of the row's norm."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@contextmanager
def so_much_more_memory(count: float) -> Iterator[None]:
    """The process may have so many bytes more of the GPU than it has now."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + count) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


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


def test_multiply_accumulates_do_not_depend_on_the_device() -> None:
    for name in ("swin_t", "vit_tiny_patch16_224"):
        backbone = load_backbone(ModelOptions(backbone=name, input_size=224, pretrained=False))
        cpu = count_macs(backbone, 224)
        cuda = count_macs(backbone.to(CUDA), 224)
        assert (cuda.macs, cuda.by_operator) == (cpu.macs, cpu.by_operator), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_features_do_not_depend_on_the_images_beside(name: str, precision: str) -> None:
    infer = inference(name, 8, precision)
    together = infer(IMAGES)
    assert torch.equal(infer(IMAGES[5:6]), together[5:6])
    assert torch.equal(infer(IMAGES.flip(0)).flip(0), together)


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_float32_is_float32_whatever_the_caller_allows(name: str) -> None:
    infer = inference(name, 8)
    exact = infer(IMAGES)
    torch.set_float32_matmul_precision("high")
    try:
        assert torch.equal(infer(IMAGES), exact)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_images_that_do_not_fit_at_once_go_through_in_halves(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.randint(0, 256, (96, 3, 64, 64), dtype=torch.uint8)
    expected = inference("resnet18", 8)(images)
    infer = inference("resnet18", 96)
    with so_much_more_memory(20e6):  # one activation of 96 images takes 25 MB
        found = infer(images)
    assert "out of memory; going on with batches of" in caplog.text
    assert infer.batch_size < 96 and apart(found, expected) < 1e-4


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_network_gives_the_same_features() -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler")
    plain, compiled = (inference("squeezenet1_1", 8, compiled=c)(IMAGES) for c in (False, True))
    assert apart(compiled, plain) < 1e-4


def test_a_run_on_the_gpu_is_as_good_and_comes_back(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(training={"epochs": 30, "seeds": 3})
    runs = [train_model(options, results_dir=tmp_path / d, device=d) for d in ("cpu", "cuda")]
    assert runs[0].metrics["val_top1"] == pytest.approx(runs[1].metrics["val_top1"], abs=0.1)
    loaded = load_run(runs[1].folder, device="cuda")
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


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
    for cpu, cuda in zip(curves("cpu", limit_bytes), curves("cuda", limit_bytes), strict=True):
        assert cuda == pytest.approx(cpu, abs=1e-4)


def test_captured_steps_are_those_that_are_launched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = curves("cuda")
    monkeypatch.setattr("heads.training.cuda_graph.EAGER_STEPS", 10**9)
    for one, other in zip(captured, curves("cuda"), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_heads_leave_no_memory_behind() -> None:
    """Heads that train next may need it before Python looks for circles; cuBLAS's workspaces stay."""
    curves("cuda")
    gc.collect()
    gc.disable()
    try:
        before = torch.cuda.memory_allocated()
        curves("cuda")
        assert torch.cuda.memory_allocated() <= before
    finally:
        gc.enable()


def test_a_head_alone_trains_as_in_a_stack() -> None:
    for head, stacked in zip(HEADS, curves("cuda"), strict=True):
        assert curves("cuda", heads=[head])[0] == pytest.approx(stacked, abs=1e-5)


def test_the_callers_generator_stays_as_it_was() -> None:
    before = torch.cuda.get_rng_state()
    inference("squeezenet1_1", 8)
    curves("cuda", heads=HEADS[:1])
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_a_sweep_on_the_gpu_finds_what_the_cpus_finds(config: Config, tmp_path: Path) -> None:
    """Rates of many heads in one stack, some of which are stopped early."""
    base = config(training={"epochs": 8})
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "model.dropout": [0.0, 0.3]}
    sweep = SweepOptions.model_validate(
        {"name": "s", "base": base, "space": space, "sampler": "random", "trials": 12, "batch": 6}
    )
    values = []
    for device in ("cpu", "cuda"):
        result = run_sweep(sweep, base, results_dir=tmp_path / device, device=device)
        values.append([t.value for t in result.trials if t.value is not None])
    assert len(values[0]) == len(values[1]) > 0
    assert max(values[1]) == pytest.approx(max(values[0]), abs=0.1)


def test_features_of_two_backbones_side_by_side(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(model={"backbone": "squeezenet1_1+shufflenet_v2_x0_5"})
    run = train_model(options, results_dir=tmp_path / "results", device="cuda")
    loaded = load_run(run.folder, device="cuda")
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


def test_many_heads_give_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    options = config(training={"epochs": 5, "seeds": 40})
    runs = [train_model(options, results_dir=tmp_path / name, device="cuda") for name in "ab"]
    assert runs[0].metrics == runs[1].metrics


SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all", "lr_scale": 0.1}]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-2), ("bfloat16", 1e-1), ("float16", 1e-1)])
def test_end_to_end_training_follows_the_cpus(config: Config, tmp_path: Path, precision: str, tolerance: float) -> None:
    """While a part is frozen: once batch norms train, rounding grows with every step."""
    losses = []
    for device, how in (("cpu", "float32"), ("cuda", precision)):  # a CPU takes half a minute in float16
        training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "precision": how}
        options = config(model={"input_size": 64}, training=training)
        run = train_model(options, results_dir=tmp_path / device, device=device)
        rows = np.genfromtxt(run.folder / "metrics.csv", delimiter=",", names=True, usecols=range(8))
        losses.append(rows["train_loss"][:4])
        assert np.isfinite(rows["val_loss"]).all()
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)


def test_end_to_end_training_gives_the_same_bits_twice(config: Config, tmp_path: Path) -> None:
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, "learning_rate": 1e-3, "ema_decay": 0.9}
    options = config(model={"input_size": 64}, training=training)
    runs = [train_model(options, results_dir=tmp_path / name, device="cuda") for name in "ab"]
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
    run = train_model(options, results_dir=tmp_path, device="cuda")
    rows = np.genfromtxt(run.folder / "metrics.csv", delimiter=",", names=True, usecols=range(8))
    assert np.isfinite(rows["train_loss"]).all() and np.isfinite(rows["val_loss"]).all()


class StopAfter(Silent):
    """Ctrl-C once so many epochs of a training are committed."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def advance(self, steps: int, note: str = "") -> None:
        if "val top-1" in note:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("epochs", [3, 5])
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
        run = fine_tune(options, results_dir=tmp_path / results, device="cuda", allow_custom=True, reuse=True, **how)
        model = torch.load(run.folder / "best_model.pth", weights_only=True)
        metrics = np.genfromtxt(run.folder / "metrics.csv", delimiter=",", names=True, usecols=range(7))
        losses = torch.tensor([metrics["train_loss"], metrics["val_loss"]])
        return {"losses": losses, **model["head"], **model["network"]}

    whole = tune("whole")
    with pytest.raises(KeyboardInterrupt):
        tune("stopped", progress=StopAfter(epochs))
    again = tune("stopped")
    assert again.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(again[name], whole[name])] == []


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_training_follows_the_plain_one(config: Config, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler")
    losses = []
    for compiled in (False, True):
        training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}], "compile": compiled}
        options = config(model={"backbone": "resume_networks:steady"}, training=training)
        run = fine_tune(options, results_dir=tmp_path / str(compiled), device="cuda", allow_custom=True)
        losses.append([run.metrics["val_loss"], run.metrics["val_top1"]])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2, abs=0.06)


def test_a_batch_that_does_not_fit_the_gpu_is_halved(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have so little memory that a whole batch of activations does not fit."""
    training = {"epochs": 1, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]}
    options = config(model={"input_size": 224}, data={"batch_size": 48}, training=training)
    extract(parse_options(options), device="cuda")
    with so_much_more_memory(600e6):
        train_model(options, results_dir=tmp_path / "results", device="cuda")
    assert "gradients are accumulated" in caplog.text
