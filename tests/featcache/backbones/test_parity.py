"""Law 1: a head's logits on cached features are the whole model's logits on the same image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_digits
from torch import nn
from torchvision import models

from featcache.backbones import build_head, load_model
from featcache.data.transforms import EvalTransform
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options

Config = Callable[..., dict[str, Any]]
TOLERANCE = {"float16": 2**-11 + 1e-4, "float32": 1e-4}  # of each feature: its type's rounding, and the pass's own

FEW = [
    ("torchvision", "resnet18", 32),
    ("torchvision", "squeezenet1_0", 32),
    ("torchvision", "mobilenet_v3_small", 32),
    ("torchvision", "shufflenet_v2_x0_5", 32),
    ("torchvision", "mnasnet0_5", 32),
    ("torchvision", "regnet_y_400mf", 32),
    ("timm", "test_resnet", 64),
    ("timm", "test_convnext", 64),
    ("timm", "test_vit", 64),
    ("timm", "mobilenetv3_small_050", 32),
]

# Float32 parameters over 1.5 GB, and the test holds them twice for a moment.
TOO_BIG = {"regnet_y_128gf": "2.6 GB of parameters", "vit_h_14": "2.5 GB of parameters"}
PUBLISHED_SIZE_ONLY = ("vit_", "maxvit_t")  # 224 and nothing else
SMALLEST = {"inception_v3": 96}
TORCHVISION = sorted(models.list_models(module=models))

TIMM = [
    ("resnetv2_50", 64),
    ("convnextv2_atto", 64),
    ("vit_tiny_patch16_224", 64),
    ("deit3_small_patch16_224", 64),
    ("beit_base_patch16_224", 64),
    ("swin_tiny_patch4_window7_224", 64),
    ("swinv2_tiny_window8_256", 64),
    ("eva02_tiny_patch14_224", 56),
    ("vit_small_patch16_rope_mixed_224", 64),
    ("mobilenetv4_conv_small", 64),
    ("efficientvit_b0", 64),
    ("edgenext_xx_small", 64),
    ("ghostnetv2_100", 64),
    ("repvgg_a0", 64),
    ("regnetz_b16", 64),
    ("eca_nfnet_l0", 64),
    ("hrnet_w18_small", 64),
    ("dla34", 64),
    ("ese_vovnet19b_dw", 64),
    ("poolformer_s12", 64),
    ("xcit_nano_12_p16_224", 64),
    ("mixer_s32_224", 224),
    ("pvt_v2_b0", 64),
    ("coatnet_nano_rw_224", 64),
    ("maxvit_nano_rw_256", 64),
    ("fastvit_t8", 64),
    ("vgg11", 32),
    ("inception_next_atto", 64),
    ("levit_128s", 64),
    ("deit_tiny_distilled_patch16_224", 64),
]


def check_parity(options_dict: dict[str, Any]) -> None:
    options = parse_options(options_dict)
    extraction = extract(options, device="cpu")
    images = {i.sha256: i.place.path for i in extraction.manifest.images}
    cached = torch.from_numpy(extraction.store.read(list(images)))

    model = load_model(options, classes=len(extraction.manifest.classes)).eval()
    transform = EvalTransform(model.backbone.preprocessing)
    with torch.inference_mode():
        direct = torch.cat([model.backbone(transform(path)[None]) for path in images.values()])
        expected = torch.cat([model(transform(path)[None]) for path in images.values()])
        head = build_head(extraction.dims, options.model.dropout).eval()
        head.load_state_dict(model.head.state_dict())
        logits = head(cached)

    # A relative error of each feature moves a logit by no more than that error through the weights' magnitudes.
    error = direct.abs() * TOLERANCE[extraction.store.dtype()]
    for layer in (module for module in head if isinstance(module, nn.Linear)):
        error = error @ layer.weight.detach().abs().mT
    assert ((logits - expected).abs() <= error).all()
    # Random networks may see little difference between images, less than that tolerance: so each row must also be
    # nearer to its own image's features than to any other's, wherever float16 can tell those apart at all.
    direct, cached = direct.double(), cached.double()
    apart = float(torch.pdist(direct).min())
    if apart > 4 * 2**-11 * float(direct.norm(dim=1).max()):
        own = torch.cdist(cached, direct).argmin(dim=1)
        assert own.tolist() == list(range(len(images)))


def quick(config: Config, source: str, name: str, size: int, **cache: Any) -> dict[str, Any]:
    model = {"backbone": name, "source": source, "input_size": size}
    return config(model=model, data={"batch_size": 2}, profile={"iterations": 1, "warmup": 0}, cache=cache)


@pytest.fixture
def six(tmp_path: Path) -> Path:
    return write_digits(tmp_path / "six", {"train": 1, "val": 1, "test": 1}, classes=2)


@pytest.fixture
def few_images(config: Config, six: Path) -> Config:
    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        made = config(**sections)
        made["data"]["path"] = str(six)
        made["model"]["classifier_dims"] = ["auto", 16, "auto"]
        return made

    return make


@pytest.mark.parametrize(("source", "name", "size"), FEW, ids=[name for _, name, _ in FEW])
def test_cached_features_give_the_models_logits(few_images: Config, source: str, name: str, size: int) -> None:
    check_parity(quick(few_images, source, name, size))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_parity_holds_in_either_stored_type(config: Config, dtype: str) -> None:
    check_parity(quick(config, "torchvision", "squeezenet1_1", 48, dtype=dtype))


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_parity_of_every_torchvision_model(few_images: Config, name: str) -> None:
    if name in TOO_BIG:
        pytest.skip(TOO_BIG[name])
    size = 224 if name.startswith(PUBLISHED_SIZE_ONLY) else SMALLEST.get(name, 64)
    check_parity(quick(few_images, "torchvision", name, size))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), TIMM, ids=[name for name, _ in TIMM])
def test_parity_of_timm_families(few_images: Config, name: str, size: int) -> None:
    check_parity(quick(few_images, "timm", name, size))


def test_the_sweep_covers_torchvision() -> None:
    assert len(TORCHVISION) >= 80
    assert set(TOO_BIG) <= set(TORCHVISION)
