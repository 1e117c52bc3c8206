"""`configs/phase1-foundation`: each network gives what timm's own transform and pooling give, and can be fine-tuned."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from featcache.backbones import Backbone, blocks, load_backbone, set_model_freeze
from featcache.backbones.classifier_removal import FeaturesThenPool
from featcache.data.transforms import EvalTransform
from featcache.options import load_options
from featcache.profiling.macs import count_macs

FOUNDATION = sorted((Path(__file__).parents[3] / "configs" / "phase1-foundation").glob("*.json"))
DOCS = Path(__file__).parents[3] / "docs" / "backbones.md"
# One that averages tokens; small ones that pool a map, or by attention, are in test_classifier_removal.py.
QUICK = {"dinov3_vit_small"}

# What timm pools with where nobody says otherwise, the blocks, and GMACs of one image as their authors count them.
POOLING = {
    "clip_vit_b_16": "token",
    "convnextv2_tiny": "avg",
    "dinov2_base": "token",
    "dinov2_small": "token",
    "dinov3_convnext_tiny": "avg",
    "dinov3_vit_small": "avg",
    "eva02_clip_vit_b_16": "token",
    "hiera_small": "avg",
    "mae_vit_b_16": "token",
    "mambaout_small": "avg",
    "mobileclip2_s0": "avg",
    "siglip2_vit_b_16": "map",
}
BLOCKS = {"convnextv2_tiny": 5, "dinov3_convnext_tiny": 5, "mambaout_small": 5, "mobileclip2_s0": 5, "hiera_small": 17}
GMACS = {
    "clip_vit_b_16": 17.6,
    "convnextv2_tiny": 4.5,
    "dinov2_base": 152.1,
    "dinov2_small": 46.9,
    "dinov3_convnext_tiny": 4.5,
    "dinov3_vit_small": 6.2,
    "eva02_clip_vit_b_16": 17.6,
    "hiera_small": 6.4,
    "mae_vit_b_16": 17.6,
    "mambaout_small": 8.9,
    "mobileclip2_s0": 2.4,
    "siglip2_vit_b_16": 17.7,
}
WITHOUT_PRODUCTS = {"add", "sub", "mul", "div", "neg", "mean", "amax", "gelu", "silu", "sigmoid", "addcmul"} | {
    "meshgrid", "sin", "cos", "linalg_vector_norm"
}  # fmt: skip  # elementwise, or once a pass: what no MAC is spent on


def each(slowly: set[str]) -> list[object]:
    return [
        pytest.param(file, id=file.stem, marks=[pytest.mark.slow] if file.stem not in slowly else [])
        for file in FOUNDATION
    ]


def seeded(file: Path) -> Backbone:
    return load_backbone(load_options(file, ["model.pretrained=false"]).model)


def own_network(backbone: Backbone) -> nn.Module:
    trunk = backbone.network
    return trunk.network if isinstance(trunk, FeaturesThenPool) else trunk


@cache
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))


def test_there_are_the_ones_to_compare() -> None:
    assert len(FOUNDATION) >= 10
    assert {file.stem for file in FOUNDATION} == set(POOLING) == set(GMACS)
    assert {file.stem for file in FOUNDATION} >= QUICK


@pytest.mark.parametrize("file", FOUNDATION, ids=lambda file: file.stem)
def test_the_config_is_of_published_weights_at_their_size(file: Path) -> None:
    options = load_options(file)
    name = options.model.backbone
    assert name in timm.list_pretrained(f"{name.partition('.')[0]}.*")  # the tag says which weights
    record = timm.get_pretrained_cfg(name)
    assert options.model.input_size == record.input_size[-1]
    assert options.model.source == "timm" and options.model.pretrained is True
    assert options.experiment_name == f"foundation_{file.stem}"
    # The page says what a user has to know of them before use.
    row = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{file.stem}` |"))
    assert [cell.strip() for cell in row.split("|")[2:6]] == [
        f"`{name}`",
        str(record.input_size[-1]),
        POOLING[file.stem],
        record.license,
    ]


@pytest.mark.parametrize("file", each(QUICK))
def test_it_is_what_timm_gives_and_can_be_tuned(file: Path) -> None:
    backbone = seeded(file)
    assert_features_of_timm(backbone, file)
    assert_counted(backbone, file.stem)
    assert_last_block_trains(backbone, BLOCKS.get(file.stem, 13))


def assert_features_of_timm(backbone: Backbone, file: Path) -> None:
    network = timm.create_model(load_options(file).model.backbone).eval()
    loaded = network.load_state_dict(own_network(backbone).state_dict(), strict=False)
    assert not loaded.unexpected_keys
    assert all(key.startswith(("head.", "fc_norm.")) for key in loaded.missing_keys)
    pool = getattr(network, "global_pool", None)
    if not isinstance(pool, str):
        head = network.head
        pool = head.pool_type if hasattr(head, "pool_type") else head.global_pool.pool_type
    assert pool == POOLING[file.stem]

    theirs = create_transform(**resolve_model_data_config(network), is_training=False)(photograph())[None]
    ours = EvalTransform(backbone.preprocessing)(photograph())[None]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    other = ours.flip(3)
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(theirs), pre_logits=True)
        found = backbone(torch.cat([ours, other]))
        if backbone.info.identity.tap == "output of head.global_pool" and hasattr(network.head, "norm"):
            # Pooled features stop before the classifier, whose first layer normalises.
            found = network.head.norm(found[:, :, None, None]).flatten(1)
    assert backbone.features == expected.shape[1]
    scale = float(expected.abs().max())
    assert float((found[0] - found[1]).abs().max()) > 10 * 1e-4 * scale  # images differ by more than what is allowed
    torch.testing.assert_close(found[:1], expected, rtol=0, atol=1e-4 * scale)


def assert_counted(backbone: Backbone, name: str) -> None:
    counted = count_macs(backbone, backbone.preprocessing.input_size)
    assert counted.macs / 1e9 == pytest.approx(GMACS[name], abs=0.05)
    assert {op.removeprefix("aten::").rstrip("_") for op in counted.unmapped} <= WITHOUT_PRODUCTS


def assert_last_block_trains(backbone: Backbone, count: int) -> None:
    every = blocks(backbone)
    assert len(every) == count and every[0].name == "stem"
    set_model_freeze(backbone, "last_block")
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == set(every[-1].parameters)
    share = sum(p.numel() for p in backbone.parameters() if p.requires_grad) / backbone.info.params
    assert 0.03 < share < 0.6  # a block: neither the last norm alone nor the network
    features: Tensor = backbone(torch.zeros(2, 3, *[backbone.preprocessing.input_size] * 2))
    features.sum().backward()
    assert all(p.grad is not None for name, p in backbone.named_parameters() if name in trained)
