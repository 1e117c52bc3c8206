"""A network's name elsewhere in (OpenAI's, the Hugging Face hub's, its authors'), its names in timm or torchvision out.

Spelling alone (`ResNet18`, `efficientnet-b0`) needs no entry here: see `name_answers.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

WORDS = {
    "t": "tiny", "ti": "tiny", "s": "small", "b": "base", "l": "large", "h": "huge", "g": "giant", "bigg": "gigantic",
    "giant-opt": "giantopt", "vits16": "small", "vits16plus": "small_plus", "vitb16": "base", "vitl16": "large",
    "vith16plus": "huge_plus", "vit7b16": "7b", "-reg": "_reg4", "-reg4": "_reg4", "with-registers-": "_reg4",
    "fullcc2.5b": "2pt5b",
}  # fmt: skip


@dataclass(frozen=True)
class OtherName:
    """A way of naming networks, and what the libraries call them."""

    pattern: str  # of the whole name in lower case, with - for _ and spaces, without the organisation
    answers: tuple[
        str, ...
    ]  # best first, those that exist count; {size} is what the group of that name gives, in WORDS
    note: str = ""
    organisation: str | None = None  # whose name it is, where others mean something else by it


@dataclass(frozen=True)
class Found:
    """What the libraries call a network that was named otherwise."""

    names: tuple[str, ...]
    note: str


def names_elsewhere(typed: str) -> Found | None:
    """What timm or torchvision call the network that `typed` names; None where it is not known here."""
    import timm

    renamed = timm.models.get_deprecated_models().get(typed)
    if renamed:  # an old name of timm's own
        return Found((renamed,), "")
    organisation, _, bare = re.sub(r"[_\s]", "-", typed.strip().lower()).rpartition("/")
    slash = f"{organisation}/{bare}" if organisation else bare  # ViT-B/32 has a slash and no organisation
    for other in NAMES:
        if other.organisation is not None and other.organisation != organisation:
            continue
        found = re.fullmatch(other.pattern, slash) or re.fullmatch(other.pattern, bare)
        if found is None:
            continue
        words = {k: WORDS.get(v, v).replace("-", "_") if v else "" for k, v in found.groupdict().items()}
        names = tuple(dict.fromkeys(n for a in other.answers if _exists(n := a.format(**words))))
        if names:
            return Found(names, other.note)
    return None


def _exists(name: str) -> bool:
    """Whether the installed libraries have the network, with the weights that a tag names."""
    import timm
    from torchvision import models

    if "." in name:
        return name in timm.list_pretrained(f"{name.partition('.')[0]}.*")
    return bool(timm.is_model(name)) or name in models.list_models(module=models)


def _other(pattern: str, *answers: str, note: str = "", organisation: str | None = None) -> OtherName:
    return OtherName(pattern, answers, note, organisation)


NAMES: tuple[OtherName, ...] = (
    # CLIP: OpenAI's own names, open_clip's, and the repositories of the hub.
    _other(r"clip", "vit_base_patch32_clip_quickgelu_224.openai"),
    _other(
        r"(?:clip-)?(?:vit-)?(?P<size>[bl])[/-]?(?P<patch>14|16|32)(?:-quickgelu)?(?:-openai)?",
        "vit_{size}_patch{patch}_clip_quickgelu_224.openai",
    ),
    _other(
        r"(?:clip-)?vit-l[/-]14[@-]336(?:px)?(?:-quickgelu)?(?:-openai)?",
        "vit_large_patch14_clip_quickgelu_336.openai",
    ),
    _other(r"rn(?P<size>50|101|50x4|50x16|50x64)(?:-quickgelu)?(?:-openai)?", "resnet{size}_clip.openai"),
    _other(
        r"clip-vit-(?P<size>base|large)-patch(?P<patch>14|16|32)(?:-(?P<side>336))?",
        "vit_{size}_patch{patch}_clip_quickgelu_{side}.openai",
        "vit_{size}_patch{patch}_clip_quickgelu_224.openai",
    ),
    _other(r"vit-(?P<size>h|g|bigg)[/-]14", "vit_{size}_patch14_clip_224.laion2b"),
    _other(
        r"clip-vit-(?P<size>b|l|h|g|bigg)-(?P<patch>14|16|32)-laion2b-.*", "vit_{size}_patch{patch}_clip_224.laion2b"
    ),
    _other(r"clip-vit-(?P<size>b|l)-(?P<patch>14|16|32)-datacomp.*", "vit_{size}_patch{patch}_clip_224.datacompxl"),
    _other(r"dfn5b-clip-vit-h-14", "vit_huge_patch14_clip_quickgelu_224.dfn5b"),
    _other(r"dfn5b-clip-vit-h-14-378", "vit_huge_patch14_clip_quickgelu_378.dfn5b"),
    _other(
        r"dfn2b-clip-vit-(?P<size>b|l)-(?P<patch>14|16)",
        "vit_{size}_patch{patch}_clip_quickgelu_224.dfn2b",
        "vit_{size}_patch{patch}_clip_224.dfn2b",
    ),
    _other(
        r"metaclip-(?P<size>[bhl])(?P<patch>14|16|32)-(?P<data>400m|fullcc2.5b)",
        "vit_{size}_patch{patch}_clip_quickgelu_224.metaclip_{data}",
    ),
    _other(r"mobileclip-?s(?P<size>[012])(?:-timm)?", "fastvit_mci{size}.apple_mclip"),
    _other(r"mobileclip2-?s(?P<size>[0234])(?:-timm)?", "fastvit_mci{size}.apple_mclip2_dfndr2b"),
    _other(r"mobileclip-?b(?:-timm)?", "vit_base_mci_224.apple_mclip"),
    _other(r"mobileclip-?b[-(]?lt\)?(?:-timm)?", "vit_base_mci_224.apple_mclip_lt"),
    _other(r"mobileclip2-?b(?:-timm)?", "vit_base_mci_224.apple_mclip2_dfndr2b"),
    _other(r"eva0?2-(?P<size>[bl])-(?P<patch>14|16)", "eva02_{size}_patch{patch}_clip_224.merged2b"),
    _other(r"eva0?2-l-14-336", "eva02_large_patch14_clip_336.merged2b"),
    _other(r"eva(?:01)?-g-14", "eva_giant_patch14_clip_224.laion400m"),
    _other(r"pe-core-(?P<size>[tsbl])(?P<patch>14|16)-(?P<side>\d+)", "vit_pe_core_{size}_patch{patch}_{side}.fb"),
    _other(r"pe-core-g14-448", "vit_pe_core_gigantic_patch14_448.fb"),
    _other(r"aimv2-(?P<size>large|huge|1b|3b)-patch14-(?P<side>\d+)", "aimv2_{size}_patch14_{side}.apple_pt"),
    # SigLIP and SigLIP 2.
    _other(r"siglip", "vit_base_patch16_siglip_224.webli"),
    _other(r"siglip-so400m", "vit_so400m_patch14_siglip_384.webli"),
    _other(r"siglip-?2", "vit_base_patch16_siglip_224.v2_webli"),
    _other(
        r"siglip-(?P<size>base|large|so400m)-patch(?P<patch>14|16)-(?P<side>\d+)",
        "vit_{size}_patch{patch}_siglip_{side}.webli",
    ),
    _other(
        r"siglip-(?P<size>base|so400m)-patch(?P<patch>16)-256-(?:multilingual|i18n)",
        "vit_{size}_patch{patch}_siglip_256.webli_i18n",
    ),
    _other(
        r"siglip2-(?P<size>base|large|so400m|giant-opt)-patch(?P<patch>14|16|32)-(?P<side>\d+)",
        "vit_{size}_patch{patch}_siglip_{side}.v2_webli",
        "vit_{size}_patch{patch}_siglip_378.v2_webli",
    ),
    _other(r"siglip2-(?P<size>base|so400m)-patch16-naflex", "naflexvit_{size}_patch16_siglip.v2_webli"),
    _other(
        r"vit-(?P<size>b|l|so400m)-(?P<patch>14|16|32)-siglip(?:-(?P<side>\d+))?",
        "vit_{size}_patch{patch}_siglip_{side}.webli",
        "vit_{size}_patch{patch}_siglip_224.webli",
        "vit_{size}_patch{patch}_siglip_256.webli",
    ),
    _other(
        r"vit-(?P<size>b|l|so400m)-(?P<patch>14|16|32)-siglip2(?:-(?P<side>\d+))?",
        "vit_{size}_patch{patch}_siglip_{side}.v2_webli",
        "vit_{size}_patch{patch}_siglip_224.v2_webli",
        "vit_{size}_patch{patch}_siglip_256.v2_webli",
    ),
    # DINO, DINOv2, DINOv3: torch.hub's names and the hub's.
    _other(r"dino", "vit_small_patch16_224.dino"),
    _other(r"dino-vit(?P<size>[sb])(?P<patch>8|16)", "vit_{size}_patch{patch}_224.dino"),
    _other(
        r"dino-resnet50",
        "resnet50",
        note="DINO's weights are published for neither library: name their file (dino_resnet50_pretrain.pth) as "
        "model.weights.",
    ),
    _other(r"dino-?v2", "vit_base_patch14_dinov2.lvd142m"),
    _other(
        r"dinov2-vit(?P<size>[sblg])14(?P<registers>-reg4?)?(?:-lc)?", "vit_{size}_patch14{registers}_dinov2.lvd142m"
    ),
    _other(
        r"dinov2-(?P<registers>with-registers-)?(?P<size>small|base|large|giant)(?:-imagenet1k-1-layer)?",
        "vit_{size}_patch14{registers}_dinov2.lvd142m",
    ),
    _other(r"dino-?v3", "vit_base_patch16_dinov3.lvd1689m"),
    _other(
        r"dinov3-(?P<size>vits16|vits16plus|vitb16|vitl16|vith16plus|vit7b16)(?:-pretrain-(?P<data>lvd1689m|sat493m))?",
        "vit_{size}_patch16_dinov3.{data}",
        "vit_{size}_patch16_dinov3.lvd1689m",
    ),
    _other(
        r"dinov3-convnext-(?P<size>tiny|small|base|large)(?:-pretrain-lvd1689m)?", "convnext_{size}.dinov3_lvd1689m"
    ),
    # Masked image models.
    _other(r"mae", "vit_base_patch16_224.mae"),
    _other(r"mae-vit-(?P<size>base|large|huge)-patch(?P<patch>14|16)(?:-.*)?", "vit_{size}_patch{patch}_224.mae"),
    _other(r"mae-vit-(?P<size>base|large|huge)", "vit_{size}_patch16_224.mae", "vit_{size}_patch14_224.mae"),
    _other(r"vit-mae-(?P<size>base|large|huge)", "vit_{size}_patch16_224.mae", "vit_{size}_patch14_224.mae"),
    _other(r"beit", "beit_base_patch16_224.in22k_ft_in22k_in1k"),
    _other(r"beit-(?P<size>b|l|base|large)(?:[/-]16)?", "beit_{size}_patch16_224.in22k_ft_in22k_in1k"),
    _other(r"beit-?v?2", "beitv2_base_patch16_224.in1k_ft_in22k_in1k"),
    _other(r"beit-(?P<size>base|large)-patch16-(?P<side>\d+)", "beit_{size}_patch16_{side}.in22k_ft_in22k_in1k"),
    _other(r"beit-(?P<size>base|large)-patch16-224-pt22k-ft22k", "beit_{size}_patch16_224.in22k_ft_in22k"),
    _other(r"beit-?v?2-(?P<size>base|large)(?:-patch16-224)?", "beitv2_{size}_patch16_224.in1k_ft_in22k_in1k"),
    _other(r"hiera-(?P<size>tiny|small|base|base-plus|large|huge)-224-hf", "hiera_{size}_224.mae"),
    _other(r"hiera-(?P<size>tiny|small|base|base-plus|large|huge)-224-in1k-hf", "hiera_{size}_224.mae_in1k_ft_in1k"),
    # Classifiers as their papers and the hub name them.
    _other(r"vit-(?P<size>ti|s)[/-]?(?P<patch>16|32)", "vit_{size}_patch{patch}_224.augreg_in21k_ft_in1k"),
    _other(
        r"vit-(?P<size>base|large|huge)-patch(?P<patch>14|16|32)-(?P<side>224|384)",
        "vit_{size}_patch{patch}_{side}.orig_in21k_ft_in1k",
        "vit_{size}_patch{patch}_{side}.augreg_in21k_ft_in1k",
        organisation="google",
    ),
    _other(
        r"vit-(?P<size>base|large|huge)-patch(?P<patch>14|16|32)-224-in21k",
        "vit_{size}_patch{patch}_224.orig_in21k",
        organisation="google",
    ),
    _other(
        r"deit-(?P<size>tiny|small|base|tiny-distilled|small-distilled|base-distilled)-patch16-(?P<side>224|384)",
        "deit_{size}_patch16_{side}.fb_in1k",
    ),
    _other(r"swin-(?P<size>tiny|small|base)", "swin_{size[0]}", "swin_{size}_patch4_window7_224.ms_in1k"),
    _other(
        r"swin-(?P<size>tiny|small|base|large)-patch4-window(?P<patch>7|12)-(?P<side>224|384)(?:-in22k)?",
        "swin_{size}_patch4_window{patch}_{side}.ms_in1k",
        "swin_{size}_patch4_window{patch}_{side}.ms_in22k",
        organisation="microsoft",
    ),
    _other(
        r"swinv2-(?P<size>tiny|small|base|large)-patch4-window(?P<patch>8|16)-256",
        "swinv2_{size}_window{patch}_256.ms_in1k",
    ),
    _other(r"convnext-(?P<size>tiny|small|base|large)-(?P<side>224|384)", "convnext_{size}.fb_in1k"),
    _other(r"convnext-(?P<size>tiny|small|base|large|xlarge)-224-22k", "convnext_{size}.fb_in22k"),
    _other(r"convnext-(?P<size>tiny|small|base|large|xlarge)-224-22k-1k", "convnext_{size}.fb_in22k_ft_in1k"),
    _other(r"convnext-(?P<size>tiny|small|base|large|xlarge)-384-22k-1k", "convnext_{size}.fb_in22k_ft_in1k_384"),
    _other(r"convnextv2-(?P<size>\w+)-1k-224", "convnextv2_{size}.fcmae_ft_in1k"),
    _other(r"convnextv2-(?P<size>\w+)-22k-224", "convnextv2_{size}.fcmae_ft_in22k_in1k"),
    _other(r"convnextv2-(?P<size>\w+)-22k-384", "convnextv2_{size}.fcmae_ft_in22k_in1k_384"),
    _other(r"resnet-(?P<size>18|34|50|101|152)", "resnet{size}.a1_in1k", organisation="microsoft"),
    _other(r"mobilenet-v2(?:-1.0-224)?", "mobilenet_v2", "mobilenetv2_100"),
    _other(r"mobilenet-?v3-(?P<size>large|small)", "mobilenet_v3_{size}", "mobilenetv3_{size}_100"),
)
