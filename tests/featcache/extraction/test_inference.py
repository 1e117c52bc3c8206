"""Features of an image, bit for bit, whatever is beside it; halved batches; the compiler as an option."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from featcache.backbones import load_backbone
from featcache.data.transforms import normalise
from featcache.devices import products_in, require_precision
from featcache.errors import OptionsError, WorkError
from featcache.extraction import extract
from featcache.extraction.inference import Inference, cpu_images
from featcache.options import ModelOptions, parse_options

Config = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")
IMAGES = torch.randint(0, 256, (19, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def inference(name: str, batch_size: int = 32, **extra: bool) -> Inference:
    return Inference(
        load_backbone(ModelOptions(backbone=name, input_size=64, pretrained=False)), CPU, batch_size, **extra
    )


SLOW = pytest.mark.slow
MORE = [
    pytest.param(name, marks=SLOW) for name in ("efficientnet_b0", "densenet121", "convnext_tiny", "swin_t", "vgg11")
]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "test_vit", *MORE])
def test_features_do_not_depend_on_the_images_beside(name: str) -> None:
    infer = inference(name)
    together = infer(IMAGES)
    assert torch.equal(infer(IMAGES.flip(0)).flip(0), together)
    assert torch.equal(infer(IMAGES[5:6]), together[5:6])
    assert torch.equal(torch.cat([infer(IMAGES[:3]), infer(IMAGES[3:])]), together)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", pytest.param("swin_t", marks=SLOW)])
def test_features_are_those_of_the_plain_network(name: str) -> None:
    backbone = load_backbone(ModelOptions(backbone=name, input_size=64, pretrained=False))
    with torch.inference_mode():
        expected = backbone(normalise(IMAGES, backbone.preprocessing))
    found = inference(name)(IMAGES)
    assert ((found - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


def test_a_cpu_takes_a_few_images_at_a_time() -> None:
    assert inference("squeezenet1_1").batch_size == cpu_images() == 8  # tests run on one thread
    assert inference("squeezenet1_1", 4).batch_size == 4


def test_one_image_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_fit(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    infer = inference("squeezenet1_1")
    monkeypatch.setattr("featcache.extraction.inference.run_network", none_fit)
    with pytest.raises(WorkError, match="one image does not fit the memory"):
        infer(IMAGES)
    assert infer.batch_size == 1


def test_a_compiler_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> torch.Tensor:
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr("torch.compile", lambda network: network)  # that is seconds
    infer = inference("squeezenet1_1", compiled=True)
    monkeypatch.setattr("featcache.extraction.inference.run_network", broken)
    with pytest.raises(WorkError, match=r"no C\+\+ compiler\. Set cache\.compile to false"):
        infer(IMAGES)


@pytest.mark.slow
def test_the_compiled_network_gives_the_same_features() -> None:
    plain, compiled = inference("resnet18")(IMAGES), inference("resnet18", compiled=True)(IMAGES)
    assert ((plain - compiled).norm(dim=1) / plain.norm(dim=1)).max() < 1e-5


# TensorFloat-32: only flags, which a machine without a GPU has too

backends: Any = torch.backends


@pytest.fixture
def _flags_as_they_come() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    backends.fp32_precision = backends.cuda.matmul.fp32_precision = "none"
    backends.cudnn.allow_tf32 = True
    backends.cudnn.conv.fp32_precision = backends.cudnn.rnn.fp32_precision = "tf32"


def flags() -> list[object]:
    """How convolutions and matrix products round; None where PyTorch refuses to say by its older names."""
    found: list[object] = [o.fp32_precision for o in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)]
    older: list[Callable[[], object]] = [
        lambda: backends.cudnn.allow_tf32,
        lambda: backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
    ]
    for read in older:
        try:
            found.append(read())
        except RuntimeError:
            found.append(None)
    return found


SETTINGS: dict[str, Callable[[], object]] = {
    "as it comes": lambda: None,
    "off": lambda: setattr(backends.cudnn, "allow_tf32", False),
    "products": lambda: torch.set_float32_matmul_precision("high"),
    "products, in the newer way": lambda: setattr(backends.cuda.matmul, "fp32_precision", "tf32"),
    "everything": lambda: setattr(backends, "fp32_precision", "tf32"),
    "nothing": lambda: setattr(backends, "fp32_precision", "ieee"),
    "convolutions off": lambda: setattr(backends.cudnn.conv, "fp32_precision", "ieee"),
}


@pytest.mark.usefixtures("_flags_as_they_come")
@pytest.mark.parametrize("setting", SETTINGS)
def test_float32_is_exact_on_a_gpu_whatever_the_caller_allows(setting: str) -> None:
    SETTINGS[setting]()
    before = flags()
    with products_in("float32", torch.device("cuda")):
        conv, rnn, products, *older = flags()
        assert {conv, rnn} == {"ieee"} and products in {"ieee", "none"}
        assert older[:2] == [False, False]  # the compiler reads these
    if None not in before:
        assert flags() == before
    with products_in("bfloat16", torch.device("cuda")), products_in("float32", CPU):
        assert flags()[:3] == before[:3]


@pytest.mark.usefixtures("_flags_as_they_come")
@pytest.mark.parametrize("setting", SETTINGS)
def test_tf32_is_tf32_on_a_gpu_whatever_the_caller_allows(setting: str) -> None:
    SETTINGS[setting]()
    before = flags()
    with products_in("tf32", torch.device("cuda")):
        conv, rnn, products, *older = flags()
        assert {conv, rnn, products} == {"tf32"}
        assert older[:2] == [True, True]
        with products_in("float32", torch.device("cuda")):  # a head on its features
            assert flags()[:3] == ["ieee"] * 3
        assert flags()[:3] == ["tf32"] * 3
    if None not in before:
        assert flags() == before
    with products_in("tf32", CPU):
        assert flags()[:3] == before[:3]


def test_tf32_is_refused_where_there_is_none(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    options = parse_options(config(training={"precision": "tf32"}))
    said = r"training.precision: tf32 is of NVIDIA GPUs .* got cpu \(.*Set it to float32"
    with pytest.raises(OptionsError, match=said):
        extract(options, device="cpu")
    assert not Path(options.cache.dir).exists()  # before any work
    with pytest.raises(OptionsError, match=r"^profile.precisions: tf32"):
        extract(config(profile={"precisions": ["tf32"]}), device="cpu")
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    for capability, there in (((7, 5), False), ((8, 0), True), ((8, 9), True)):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, has=capability: has)
        with nullcontext() if there else pytest.raises(OptionsError, match=r"got cuda \(Tesla T4\)"):
            require_precision("tf32", torch.device("cuda"))


def test_tf32_has_rows_of_its_own(config: Config) -> None:
    precisions = ["float32", "tf32", "bfloat16"]
    model = ModelOptions(backbone="squeezenet1_1", input_size=32, pretrained=False)
    identities = [load_backbone(model, precision=p).info.identity for p in precisions]
    assert len({i.short for i in identities}) == 3 and identities[1].as_dict()["precision"] == "tf32"
    runs = [parse_options(config(training={"precision": p})).short for p in precisions]
    assert len(set(runs)) == 3
