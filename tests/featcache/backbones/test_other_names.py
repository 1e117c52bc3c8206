"""Names that people know from elsewhere: the answer names the library's own, which exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
from torchvision import models

from featcache.backbones import find_source
from featcache.backbones.name_catalogue import catalogue
from featcache.backbones.other_names import NAMES, names_elsewhere
from featcache.errors import UnknownBackboneError
from featcache.options import ModelOptions

ELSEWHERE = {
    "mae_vit_base": "vit_base_patch16_224.mae",
    "dinov2_vitb14_reg4": "vit_base_patch14_reg4_dinov2.lvd142m",
    "siglip-so400m": "vit_so400m_patch14_siglip_384.webli",
    "BEiT": "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "BEiT-L": "beit_large_patch16_224.in22k_ft_in22k_in1k",
    "beitv2": "beitv2_base_patch16_224.in1k_ft_in22k_in1k",
    "ViT-S/16": "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "ViT-Ti/16": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "clip": "vit_base_patch32_clip_quickgelu_224.openai",
    "ViT-B/32": "vit_base_patch32_clip_quickgelu_224.openai",
    "ViT-B/16": "vit_base_patch16_clip_quickgelu_224.openai",
    "CLIP ViT-B/16": "vit_base_patch16_clip_quickgelu_224.openai",
    "ViT-L/14": "vit_large_patch14_clip_quickgelu_224.openai",
    "ViT-L/14@336px": "vit_large_patch14_clip_quickgelu_336.openai",
    "RN50": "resnet50_clip.openai",
    "RN50x16": "resnet50x16_clip.openai",
    "openai/clip-vit-base-patch32": "vit_base_patch32_clip_quickgelu_224.openai",
    "openai/clip-vit-large-patch14-336": "vit_large_patch14_clip_quickgelu_336.openai",
    "ViT-H/14": "vit_huge_patch14_clip_224.laion2b",
    "ViT-bigG-14": "vit_gigantic_patch14_clip_224.laion2b",
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": "vit_base_patch32_clip_224.laion2b",
    "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K": "vit_base_patch16_clip_224.datacompxl",
    "apple/DFN5B-CLIP-ViT-H-14": "vit_huge_patch14_clip_quickgelu_224.dfn5b",
    "apple/DFN5B-CLIP-ViT-H-14-378": "vit_huge_patch14_clip_quickgelu_378.dfn5b",
    "apple/DFN2B-CLIP-ViT-B-16": "vit_base_patch16_clip_224.dfn2b",
    "facebook/metaclip-b32-400m": "vit_base_patch32_clip_quickgelu_224.metaclip_400m",
    "facebook/metaclip-h14-fullcc2.5b": "vit_huge_patch14_clip_quickgelu_224.metaclip_2pt5b",
    "MobileCLIP-S1": "fastvit_mci1.apple_mclip",
    "apple/mobileclip_s0_timm": "fastvit_mci0.apple_mclip",
    "MobileCLIP-B": "vit_base_mci_224.apple_mclip",
    "MobileCLIP-B(LT)": "vit_base_mci_224.apple_mclip_lt",
    "MobileCLIP2-S4": "fastvit_mci4.apple_mclip2_dfndr2b",
    "MobileCLIP2-B": "vit_base_mci_224.apple_mclip2_dfndr2b",
    "EVA02-B-16": "eva02_base_patch16_clip_224.merged2b",
    "EVA02-L-14-336": "eva02_large_patch14_clip_336.merged2b",
    "EVA01-g-14": "eva_giant_patch14_clip_224.laion400m",
    "facebook/PE-Core-B16-224": "vit_pe_core_base_patch16_224.fb",
    "PE-Core-G14-448": "vit_pe_core_gigantic_patch14_448.fb",
    "apple/aimv2-large-patch14-224": "aimv2_large_patch14_224.apple_pt",
    "siglip": "vit_base_patch16_siglip_224.webli",
    "siglip2": "vit_base_patch16_siglip_224.v2_webli",
    "siglip-base-patch16-224": "vit_base_patch16_siglip_224.webli",
    "google/siglip-base-patch16-256-multilingual": "vit_base_patch16_siglip_256.webli_i18n",
    "google/siglip2-base-patch16-224": "vit_base_patch16_siglip_224.v2_webli",
    "google/siglip2-so400m-patch14-384": "vit_so400m_patch14_siglip_378.v2_webli",
    "google/siglip2-giant-opt-patch16-384": "vit_giantopt_patch16_siglip_384.v2_webli",
    "google/siglip2-base-patch16-naflex": "naflexvit_base_patch16_siglip.v2_webli",
    "ViT-B-16-SigLIP-384": "vit_base_patch16_siglip_384.webli",
    "timm/ViT-L-16-SigLIP2-256": "vit_large_patch16_siglip_256.v2_webli",
    "dino": "vit_small_patch16_224.dino",
    "dino_vits16": "vit_small_patch16_224.dino",
    "facebook/dino-vitb8": "vit_base_patch8_224.dino",
    "dino_resnet50": "resnet50",
    "dinov2": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14_reg": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitg14_reg_lc": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "facebook/dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "facebook/dinov2-with-registers-large": "vit_large_patch14_reg4_dinov2.lvd142m",
    "dinov3": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_vits16": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3_vith16plus": "vit_huge_plus_patch16_dinov3.lvd1689m",
    "facebook/dinov3-vitl16-pretrain-sat493m": "vit_large_patch16_dinov3.sat493m",
    "facebook/dinov3-convnext-tiny-pretrain-lvd1689m": "convnext_tiny.dinov3_lvd1689m",
    "mae": "vit_base_patch16_224.mae",
    "mae_vit_base_patch16": "vit_base_patch16_224.mae",
    "facebook/vit-mae-huge": "vit_huge_patch14_224.mae",
    "microsoft/beit-base-patch16-224": "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "microsoft/beit-base-patch16-224-pt22k-ft22k": "beit_base_patch16_224.in22k_ft_in22k",
    "beit-v2-base": "beitv2_base_patch16_224.in1k_ft_in22k_in1k",
    "beit2_large_patch16_224": "beitv2_large_patch16_224.in1k_ft_in22k_in1k",
    "facebook/hiera-base-plus-224-hf": "hiera_base_plus_224.mae",
    "facebook/hiera-tiny-224-in1k-hf": "hiera_tiny_224.mae_in1k_ft_in1k",
    "google/vit-base-patch16-224": "vit_base_patch16_224.orig_in21k_ft_in1k",
    "google/vit-base-patch16-224-in21k": "vit_base_patch16_224.orig_in21k",
    "facebook/deit-base-distilled-patch16-224": "deit_base_distilled_patch16_224.fb_in1k",
    "swin-tiny": "swin_t",
    "microsoft/swin-tiny-patch4-window7-224": "swin_tiny_patch4_window7_224.ms_in1k",
    "microsoft/swinv2-tiny-patch4-window8-256": "swinv2_tiny_window8_256.ms_in1k",
    "facebook/convnext-tiny-224": "convnext_tiny.fb_in1k",
    "facebook/convnext-base-224-22k": "convnext_base.fb_in22k",
    "facebook/convnext-base-224-22k-1k": "convnext_base.fb_in22k_ft_in1k",
    "facebook/convnext-base-384-22k-1k": "convnext_base.fb_in22k_ft_in1k_384",
    "facebook/convnextv2-tiny-1k-224": "convnextv2_tiny.fcmae_ft_in1k",
    "facebook/convnextv2-tiny-22k-224": "convnextv2_tiny.fcmae_ft_in22k_in1k",
    "facebook/convnextv2-base-22k-384": "convnextv2_base.fcmae_ft_in22k_in1k_384",
    "microsoft/resnet-50": "resnet50.a1_in1k",
    "google/mobilenet_v2_1.0_224": "mobilenet_v2",
    "mobilenetv3_large": "mobilenet_v3_large",
    "vit_small_patch16_224_dino": "vit_small_patch16_224.dino",  # timm's own, of years ago
    "vit_base_patch16_224_in21k": "vit_base_patch16_224.augreg_in21k",
}

SPELLED = {
    "ResNet18": "resnet18",
    "resnet-18": "resnet18",
    "ResNet-50": "resnet50",
    "EfficientNet_B0": "efficientnet_b0",
    "efficientnet-b0": "efficientnet_b0",
    "EfficientNetB0": "efficientnet_b0",
    "ViT_B_16": "vit_b_16",
    "vgg-16": "vgg16",
    "VGG16": "vgg16",
    "inceptionv3": "inception_v3",
    "densenet-121": "densenet121",
    "MobileNetV2": "mobilenet_v2",
    "convnext-tiny": "convnext_tiny",
    "ConvNeXtTiny": "convnext_tiny",
    "squeezenet1.1": "squeezenet1_1",
    "regnety_400mf": "regnet_y_400mf",
    "torchvision.models.resnet18": "resnet18",
    "google/efficientnet-b0": "efficientnet_b0",
    "ResNet18.a1_in1k": "resnet18.a1_in1k",
    "timm/ConvNeXt-Tiny": "convnext_tiny",
}


def said_of(typed: str, source: str = "auto") -> str:
    options = ModelOptions(backbone=typed, source=source)
    with pytest.raises(UnknownBackboneError) as caught:
        find_source(options.backbone, options.source)
    return str(caught.value)


def exists(name: str) -> bool:
    return name in timm.list_pretrained() or name in models.list_models(module=models)


@pytest.mark.parametrize("typed", ELSEWHERE)
def test_the_answer_is_the_librarys_own_name(typed: str) -> None:
    right = ELSEWHERE[typed]
    assert exists(right)
    message = said_of(typed)
    assert message.startswith("model.backbone: ") and f"'{right}'" in message
    named = re.findall(r"'([^']+)'", message.partition("Did you mean")[2])
    assert named[0] == right
    assert find_source(right).has(right)


@pytest.mark.parametrize("typed", SPELLED)
def test_the_answer_to_another_spelling_is_the_exact_one(typed: str) -> None:
    right = SPELLED[typed]
    assert f"Did you mean '{right}'" in said_of(typed)
    assert find_source(right).has(right)


def test_every_way_of_naming_has_an_example() -> None:
    found = [names_elsewhere(typed) for typed in ELSEWHERE]
    assert all(one is not None for one in found)
    for other in NAMES:
        fits = [re.sub(r"[_\s]", "-", typed.lower()) for typed in ELSEWHERE]
        assert any(re.fullmatch(other.pattern, f) or re.fullmatch(other.pattern, f.rpartition("/")[2]) for f in fits), (
            other.pattern
        )


@pytest.mark.parametrize(
    "name",
    ["resnet18.tv_in1k", "convnext_tiny.fb_in22k_ft_in1k", "beit_base_patch16_224", "vit_base_patch16_224.dino"],
)
def test_what_exists_is_understood(name: str) -> None:
    assert find_source(name).name == "timm"


def test_what_others_call_like_one_of_the_libraries_is_said_too() -> None:
    message = said_of("ViT-B-16")
    assert "Did you mean 'vit_b_16'?" in message
    assert "What others call 'ViT-B-16' is 'vit_base_patch16_clip_quickgelu_224.openai'." in message


def test_dinos_resnet_comes_without_its_weights() -> None:
    assert "name their file (dino_resnet50_pretrain.pth) as model.weights" in said_of("dino_resnet50")


@pytest.mark.parametrize(
    ("typed", "source", "said"),
    [
        ("resnet18.a9_in1k", "auto", "timm has 'resnet18' with other weights: 'resnet18.a1_in1k'|'resnet18.a3_in1k'"),
        ("resnet18.IMAGENET1K_V1", "auto", "name 'resnet18', and 'IMAGENET1K_V1' as model.weights"),
        ("torchvision/resnet18.a1_in1k", "auto", "timm has 'resnet18.a1_in1k': write it as 'timm/resnet18.a1_in1k'"),
        (
            "vit_b_16",
            "timm",
            "torchvision has 'vit_b_16': write it as 'torchvision/vit_b_16', and leave model.source out",
        ),
        ("ViT-B/32", "torchvision", "'vit_base_patch32_clip_quickgelu_224.openai' of another library"),
        ("myorg/mymodel", "auto", "write 'hf-hub:myorg/mymodel'"),
        ("swin", "auto", "Nearest: .*swin_t"),
        ("resnext50", "auto", "Nearest: resnext50_32x4d"),
        ("mobilenetv3_large", "timm", "'mobilenetv3_large_100'"),
    ],
)
def test_what_else_is_said(typed: str, source: str, said: str) -> None:
    assert re.search(said, said_of(typed, source)), said_of(typed, source)


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    assert f"write 'local-dir:{tmp_path}'" in said_of(str(tmp_path))


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        ("ViT-B/32", [("timm", "vit_base_patch32_clip_quickgelu_224.openai")]),
        ("ResNet18", [("torchvision", "resnet18"), ("timm", "resnet18")]),
        ("timm/resnet18", [("timm", "resnet18")]),
        ("timm/test_vit*", [("timm", f"test_vit{n}") for n in ("", "2", "3", "4", "_relpos")]),
        ("test_resnet.*", [("timm", "test_resnet.r160_in1k")]),
        ("dinov2_vits14", [("timm", "vit_small_patch14_dinov2.lvd142m")]),
    ],
)
def test_the_catalogue_understands_them_too(
    typed: str, rows: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.backbones.name_catalogue.MAX_SIZED", 0)
    assert [(row.source, row.name) for row in catalogue(typed)] == rows


def test_what_the_catalogue_lacks_gives_the_nearest() -> None:
    with pytest.raises(
        UnknownBackboneError, match=r"no backbone is named like 'resnext50_32'\. Nearest: resnext50_32x4d"
    ):
        catalogue("resnext50_32")


def test_a_dot_without_a_tag_is_no_name() -> None:
    with pytest.raises(UnknownBackboneError, match=r"'resnet18\.' is no classifier .*'resnet18\.a1_in1k'"):
        find_source("resnet18.")
