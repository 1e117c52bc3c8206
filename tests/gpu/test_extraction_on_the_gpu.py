"""Features on a GPU: as the CPU's, in each precision; whatever lies beside them; halved, compiled, profiled."""

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
    apart,
    so_much_more_memory,
)

from featcache import load_run
from featcache.backbones import load_backbone
from featcache.extraction import Inference, extract
from featcache.options import ModelOptions, parse_options
from featcache.profiling.macs import count_macs
from heads import train_model

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]

IMAGES = torch.randint(0, 256, (19, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def inference(name: str, batch_size: int, precision: str = "float32", **extra: bool) -> Inference:
    model = ModelOptions(backbone=name, input_size=64, pretrained=False)
    return Inference(load_backbone(model, precision=precision), DEVICE, batch_size, **extra)


def on_each(config: Config, tmp_path: Path, **sections: dict[str, Any]) -> list[Any]:
    return [
        extract(
            parse_options(config(cache={"dir": str(tmp_path / device), "dtype": "float32"}, **sections)), device=device
        )
        for device in ("cpu", NAME)
    ]


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-2), ("bfloat16", 5e-2), ("float16", 2e-2)])
def test_features_agree_with_the_cpus(config: Config, tmp_path: Path, precision: str, tolerance: float) -> None:
    cpu, cuda = on_each(config, tmp_path, training={"precision": precision})
    hashes = list(cpu.store.rows())
    a, b = (torch.from_numpy(e.store.read(hashes)) for e in (cpu, cuda))
    assert float((a - b).norm() / a.norm()) < tolerance


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("resnet18", "float32"),
        ("swin_t", "bfloat16"),
        pytest.param("resnet18", "float16", marks=CUDA_ONLY),
        ("swin_t", "float32"),
        ("resnet18", "bfloat16"),
    ],
)
def test_features_do_not_depend_on_the_images_beside(name: str, precision: str) -> None:
    infer = inference(name, 8, precision)
    together = infer(IMAGES)
    assert torch.equal(infer(IMAGES[5:6]), together[5:6])
    assert torch.equal(infer(IMAGES.flip(0)).flip(0), together)


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=CUDA_ONLY)])
def test_weights_are_cast_once_and_features_stay_those_of_autocast(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = inference("convnext_tiny", 8, precision)
    assert once.narrowed > 0
    monkeypatch.setattr("featcache.extraction.inference.narrow_weights", lambda network, *_: (network, 0))
    assert torch.equal(inference("convnext_tiny", 8, precision)(IMAGES), once(IMAGES))


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_float32_is_float32_whatever_the_caller_allows(name: str) -> None:
    infer = inference(name, 8)
    exact = infer(IMAGES)
    torch.set_float32_matmul_precision("high")
    try:
        assert torch.equal(infer(IMAGES), exact)
    finally:
        torch.set_float32_matmul_precision("highest")


@TF32
@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_tf32_rounds_products_and_no_more(name: str) -> None:
    """Whatever the caller allows: near float32's features, not the same, and as they are beside other images."""
    exact, rounded = inference(name, 8)(IMAGES), inference(name, 8, "tf32")(IMAGES)
    assert 1e-6 < apart(rounded, exact) < 1e-2
    torch.set_float32_matmul_precision("high")
    try:
        infer = inference(name, 8, "tf32")
        assert torch.equal(infer(IMAGES), rounded)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(infer(IMAGES[5:6]), rounded[5:6])
    assert torch.equal(infer(IMAGES.flip(0)).flip(0), rounded)


@TF32
def test_a_run_in_tf32(config: Config, tmp_path: Path, digits: Path) -> None:
    """Rows of their own, a latency of their own, answers for images."""
    options = config(training={"precision": "tf32"}, profile={"precisions": ["float32"]})
    run = train_model(options, results_dir=tmp_path / "results", device=NAME)
    assert run.performance["precision"] == "tf32"
    loaded = load_run(run.folder, device=NAME)
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


def test_features_of_two_backbones_side_by_side(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(model={"backbone": "squeezenet1_1+shufflenet_v2_x0_5"})
    run = train_model(options, results_dir=tmp_path / "results", device=NAME)
    loaded = load_run(run.folder, device=NAME)
    assert loaded.predict(sorted((digits / "val").rglob("*.png"))).shape == (20, 4)


@CUDA_ONLY
def test_images_that_do_not_fit_at_once_go_through_in_halves(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.randint(0, 256, (96, 3, 64, 64), dtype=torch.uint8)
    expected = inference("resnet18", 8)(images)
    infer = inference("resnet18", 96)
    with so_much_more_memory(24e6):  # a segment for small activations takes 21 MB, the first of 96 images alone 25
        found = infer(images)
    assert "out of memory; going on with batches of" in caplog.text
    assert infer.batch_size < 96 and apart(found, expected) < 1e-4


@CUDA_ONLY
def test_the_profile_is_of_the_device(config: Config, tmp_path: Path) -> None:
    _, cuda = on_each(config, tmp_path)
    assert cuda.profile.device == torch.cuda.get_device_name()
    assert cuda.profile.peak_memory_kind == "device memory allocated"
    assert 0 < cuda.profile.peak_memory_bytes < torch.cuda.get_device_properties(0).total_memory


@CUDA_ONLY
def test_every_precision_and_batch_size_is_measured(config: Config) -> None:
    profile = {"batch_sizes": [1, 8], "precisions": ["bfloat16", "float16"], "iterations": 5}
    measured = extract(parse_options(config(profile=profile)), device=NAME).profile
    assert len(measured.measurements) == 6
    assert all(m.latency_ms.p50 > 0 for m in measured.measurements)
    assert measured.backbone_ms.mean + measured.head_ms.mean == pytest.approx(measured.latency_ms.mean)


def test_multiply_accumulates_do_not_depend_on_the_device() -> None:
    for name in ("swin_t", "vit_tiny_patch16_224"):
        backbone = load_backbone(ModelOptions(backbone=name, input_size=224, pretrained=False))
        cpu = count_macs(backbone, 224)
        cuda = count_macs(backbone.to(DEVICE), 224)
        assert (cuda.macs, cuda.by_operator) == (cpu.macs, cpu.by_operator), name


@COMPILER
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_compiled_network_gives_the_same_features() -> None:
    plain, compiled = (inference("squeezenet1_1", 8, compiled=c)(IMAGES) for c in (False, True))
    assert apart(compiled, plain) < 1e-4


def test_decoding_processes_give_the_same_rows(config: Config, tmp_path: Path) -> None:
    found = []
    for decoders in ("threads", "processes"):
        given = config(cache={"dir": str(tmp_path / decoders)}, data={"decoders": decoders})
        found.append(extract(parse_options(given), device=NAME).store)
    hashes = list(found[0].rows())
    assert np.array_equal(*(store.read(hashes) for store in found))
