"""Sizes that patches do not cover are refused with the two nearest; what pads or slides is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers import PatchEmbed
from torch import nn

from featcache.backbones import load_backbone
from featcache.backbones.libraries import Timm
from featcache.backbones.patches import multiples_around, patch_side, watched_patches
from featcache.backbones.shape_only import shapes
from featcache.errors import InputSizeError
from featcache.extraction import estimate_costs
from featcache.options import ModelOptions, parse_options
from featcache.session import Session


def at(name: str, size: int) -> Any:
    return load_backbone(ModelOptions(backbone=name, input_size=size, pretrained=False))


# What drops pixels silently, what asserts, what breaks on the way, what cannot be built: all name the nearest.
CUT = [
    ("deit_tiny_patch16_224", 100, "96 and 112"),
    ("swin_t", 102, "100 and 104"),
    ("visformer_tiny", 100, "96 and 128"),
    ("test_vit", 100, "96, 112"),
]
CUT_SLOWLY = [
    ("hiera_tiny_224", 100, "96, 128"),
    ("xcit_nano_12_p16_224", 100, "96, 128"),
    ("swin_tiny_patch4_window7_224", 102, "100 and 104"),
    ("mixer_s32_224", 100, "96 and 128"),
    ("vit_small_patch14_dinov2", 100, "98 and 112"),
    ("eva02_tiny_patch14_224", 100, "98 and 112"),
    ("beit_base_patch16_224", 100, "96 and 112"),
    ("cait_xxs24_224", 100, "96 and 112"),
    ("volo_d1_224", 100, "96 and 112"),
    ("twins_svt_small", 100, "96, 128"),
    ("nest_tiny", 100, "96, 128"),
    ("vit_tiny_r_s16_p8_224", 100, "96, 128"),
    ("vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m", 100, "96, 112"),
]
LEFT = [
    ("convnext_tiny", 102),
    ("swin_t", 100),
    ("edgenext_xx_small", 101),
    ("pvt_v2_b0", 101),
    ("mambaout_femto", 101),
]


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [*CUT, *(pytest.param(*c, marks=pytest.mark.slow) for c in CUT_SLOWLY)],
)
def test_the_two_nearest_sizes_are_named(name: str, size: int, nearest: str) -> None:
    with pytest.raises(InputSizeError, match=rf"^model\.input_size: {name} .*{size}.* {nearest}\.$"):
        at(name, size)


@pytest.mark.parametrize(("name", "size"), [LEFT[0], *(pytest.param(*x, marks=pytest.mark.slow) for x in LEFT[1:])])
def test_what_pads_or_slides_takes_any_size(name: str, size: int) -> None:
    assert at(name, size).preprocessing.input_size == size


def test_check_refuses_it_too(config: Callable[..., dict[str, Any]]) -> None:
    options = parse_options(config(model={"backbone": "deit_tiny_patch16_224", "input_size": 100}))
    with pytest.raises(InputSizeError, match="96 and 112"):
        estimate_costs(options, Session.begin("cpu"))


class Embedded(nn.Module):
    def __init__(self, **extra: Any) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(patch_size=14, embed_dim=4, **extra)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.patch_embed(x)
        return embedded.mean(dim=1)


@pytest.mark.parametrize(
    ("side", "extra", "missed"),
    [
        (98, {"img_size": 98}, False),
        (100, {"img_size": 100}, True),
        (100, {"img_size": 98, "strict_img_size": False, "dynamic_img_pad": True}, False),
        (100, {"img_size": None}, False),  # of networks that take any number of patches
    ],
)
def test_only_pixels_in_no_patch_count(side: int, extra: dict[str, Any], missed: bool) -> None:
    network = Embedded(**extra)
    with watched_patches(network, side) as patches:
        network(torch.zeros(1, 3, side, side))
    assert patches.missed is missed
    if missed:
        assert multiples_around(side, patches.unit) == (98, 112)
        assert patch_side(network) == 14
    assert not network.patch_embed.proj._forward_pre_hooks


def test_multiples_around() -> None:
    assert multiples_around(100, 14) == (98, 112)
    assert multiples_around(10, 16) == (16,)
    assert multiples_around(32, 16) == (32, 48)


def test_published_sizes_are_taken_as_they_are() -> None:
    """SigLIP at 384 pixels was trained on 27 patches of 14: its last 6 pixels are in none."""
    name = "vit_so400m_patch14_siglip_384"
    assert timm.get_pretrained_cfg(name).input_size[-1] % 14
    assert shapes(Timm(), name) == (1152, 384)
