"""Blocks: the units of the networks' authors, in order, and what is frozen does not move by a bit."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from featcache.backbones import (
    Backbone,
    Block,
    JoinedBackbone,
    Model,
    blocks,
    build_head,
    load_backbone,
    set_model_freeze,
    train_from,
)
from featcache.backbones.classifier_removal import remove_classifier
from featcache.backbones.freezing import first_trained
from featcache.errors import OptionsError
from featcache.options.model_options import ModelOptions

EXPECTED = {  # (source, name): (pixels a side, blocks)
    ("torchvision", "resnet18"): (32, "stem layer1 layer2 layer3 layer4"),
    ("torchvision", "densenet121"): (
        32,
        "stem features.denseblock1 features.denseblock2 features.denseblock3 features.denseblock4",
    ),
    ("torchvision", "vgg11"): (32, "features.0 features.3 features.6-8 features.11-13 features.16-18"),
    ("torchvision", "squeezenet1_1"): (48, "stem features.3-4 features.6-7 features.9-12"),
    ("torchvision", "mobilenet_v3_small"): (32, "stem features.1 features.2-3 features.4-6 features.7-8 features.9-11"),
    ("torchvision", "efficientnet_b0"): (
        32,
        "stem features.1 features.2 features.3 features.4 features.5 features.6 features.7",
    ),
    ("torchvision", "swin_t"): (32, "stem features.1 features.3 features.5 features.7"),
    ("torchvision", "shufflenet_v2_x0_5"): (32, "stem stage2 stage3 stage4"),
    ("torchvision", "googlenet"): (64, "stem inception3 inception4 inception5"),
    ("torchvision", "mnasnet0_5"): (32, "stem layers.8 layers.9 layers.10 layers.11 layers.12 layers.13"),
    ("torchvision", "regnet_y_400mf"): (
        32,
        "stem trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output.block4",
    ),
    ("timm", "convnext_atto"): (32, "stem stages.0 stages.1 stages.2 stages.3"),
    ("timm", "mobilenetv3_small_050"): (
        32,
        "stem blocks.0 blocks.1 blocks.2 blocks.3 blocks.4 blocks.5",
    ),
    ("timm", "vit_tiny_patch16_224"): (32, "stem " + " ".join(f"blocks.{k}" for k in range(12))),
}
# Names alone: these take too long for a step here.
NAMES = {
    ("torchvision", "inception_v3"): "stem Mixed_5 Mixed_6 Mixed_7",
    ("torchvision", "vit_b_16"): "stem " + " ".join(f"encoder.layers.encoder_layer_{k}" for k in range(12)),
    ("torchvision", "convnext_tiny"): "stem features.1 features.3 features.5 features.7",
    ("torchvision", "maxvit_t"): "stem blocks.0 blocks.1 blocks.2 blocks.3",
    ("torchvision", "alexnet"): "features.0 features.3 features.6-10",
    ("timm", "swin_tiny_patch4_window7_224"): "stem layers.0 layers.1 layers.2 layers.3",
    ("timm", "densenet121"): EXPECTED["torchvision", "densenet121"][1],
    ("timm", "vgg11"): EXPECTED["torchvision", "vgg11"][1],
    ("timm", "inception_v3"): "stem Mixed_5 Mixed_6 Mixed_7",
    ("timm", "deit_tiny_distilled_patch16_224"): "stem " + " ".join(f"blocks.{k}" for k in range(12)),
    # timm's own groups join the last layers with those on the class token, which run after all of them.
    ("timm", "cait_xxs24_224"): "stem " + " ".join(f"blocks.{k}" for k in range(24)) + " blocks_token_only",
    ("timm", "poolformer_s12"): "stem stages.0 stages.1 stages.2 stages.3",  # timm does not group it
}
# 600 million parameters and more: with their gradients and momentum a step takes more memory than there is.
NO_STEP = {"vit_h_14", "regnet_y_128gf"}
PIXELS = {
    "inception_v3": 299,
    "googlenet": 64,
    "alexnet": 64,
    "maxvit_t": 224,
    "squeezenet1_0": 48,
    "squeezenet1_1": 48,
}
FAMILIES = {  # of timm: pixels a side
    "resnet18": 32, "resnetv2_18": 32, "densenet121": 32, "vgg11": 32, "mobilenetv3_small_050": 32,
    "efficientnet_b0": 32, "convnext_atto": 32, "swin_tiny_patch4_window7_224": 224, "vit_tiny_patch16_224": 224,
    "deit_tiny_distilled_patch16_224": 224, "inception_v3": 96, "inception_v4": 96, "inception_resnet_v2": 96,
    "regnetx_002": 32, "mixer_s32_224": 224, "levit_128s": 224, "edgenext_xx_small": 64, "mobilevit_xxs": 64,
    "ghostnet_050": 32, "repghostnet_050": 32, "hrnet_w18_small": 64, "dla46_c": 64, "xcit_nano_12_p16_224": 64,
    "pvt_v2_b0": 64, "coat_lite_tiny": 224, "poolformer_s12": 64, "efficientformer_l1": 224, "repvgg_a0": 32,
    "nfnet_f0": 64, "cait_xxs24_224": 224, "twins_svt_small": 64, "tnt_s_patch16_224": 224, "visformer_tiny": 224,
    "xception41": 64, "nest_tiny": 224, "crossvit_tiny_240": 240, "beit_base_patch16_224": 224, "fastvit_t8": 64,
    "eva02_tiny_patch14_224": 224, "maxvit_pico_rw_256": 256, "selecsls42": 64, "dpn48b": 64, "rexnet_100": 32,
    "skresnet18": 32, "res2net50_14w_8s": 32, "hardcorenas_a": 32, "cs3darknet_focus_s": 64, "convmixer_768_32": 64,
    "starnet_s1": 32, "vit_tiny_r_s16_p8_224": 224,
}  # fmt: skip


def _leave(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
    return tensor


@pytest.fixture
def _quick_initialisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fill` gives the weights; large networks spend minutes on their own."""
    for name in ("trunc_normal_", "normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_", "xavier_uniform_"):
        monkeypatch.setattr(f"torch.nn.init.{name}", _leave)


def build(source: str, name: str, pixels: int | None = None) -> nn.Module:
    """The network with a classifier, for small images where it can be built for them."""
    if source == "timm":
        network: nn.Module = timm.create_model(name, num_classes=10)  # a few have no classifier by themselves
        return network
    extra: dict[str, Any] = {"init_weights": False} if name in {"inception_v3", "googlenet"} else {}
    if name.startswith("vit_") and pixels:
        extra = {"image_size": pixels}
    return models.get_model(name, **extra)


def fill(model: nn.Module) -> None:
    """Finite weights, none of them zero: weight decay moves every one that trains."""
    generator = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        if p.ndim > 1:
            p.data.normal_(0, 1 / math.sqrt(max(p[0].numel(), 1)), generator=generator)
        elif name.endswith("weight"):
            p.data.uniform_(0.5, 1.5, generator=generator)
        else:
            p.data.normal_(0, 0.02, generator=generator)


def images_of(pixels: int) -> Tensor:
    return torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


def small_classifier(model: Any, name: str) -> None:
    """VGG's and AlexNet's hold a hundred million weights, which say nothing about blocks."""
    if isinstance(getattr(model, "classifier", None), nn.Sequential) and name.startswith(("vgg", "alexnet")):
        width = model.classifier[0 if name.startswith("vgg") else 1].in_features
        model.classifier = nn.Sequential(nn.Dropout(), nn.Linear(width, 8))


def names_of(model: nn.Module) -> str:
    return " ".join(block.name for block in blocks(model))


def tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors(part)


# Every parameter and module


def assert_complete(model: nn.Module) -> tuple[Block, ...]:
    """Every parameter in one block or the head; modules in the block of all their parameters."""
    every = blocks(model)
    parameters = dict(model.named_parameters())
    modules = dict(model.named_modules())
    inside = [name for block in every for name in block.parameters]
    placed = [name for block in every for name in block.modules]
    assert len(set(inside)) == len(inside) and set(inside) <= set(parameters)
    assert len(set(placed)) == len(placed) and set(placed) <= set(modules)
    assert len({block.name for block in every}) == len(every)
    assert all(block.parameters for block in every)
    for block in every:
        own = {id(parameters[name]) for name in block.parameters}
        for name in block.modules:
            assert {id(p) for p in modules[name].parameters()} <= own, (block.name, name)
        for name, module in modules.items():
            held = {id(p) for p in module.parameters()}
            assert name in block.modules or not held or not held <= own, (block.name, name)
    return every


def assert_runs_in_order(model: nn.Module, every: tuple[Block, ...], images: Tensor) -> None:
    """The first module with weights of its own that runs in each block, in the order of the blocks."""
    place = {name: k for k, block in enumerate(every) for name in block.modules}
    ran: list[int] = []
    hooks = [
        module.register_forward_pre_hook(lambda _m, _i, k=place[name]: ran.append(k))
        for name, module in model.named_modules()
        if name in place and any(True for _ in module.parameters(recurse=False))
    ]
    model.eval()
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    first = list(dict.fromkeys(ran))
    assert first == sorted(first), [every[k].name for k in first]
    assert len(first) >= len(every) - 1, sorted(set(range(len(every))) - set(first))


# One step


def assert_step_moves_only_what_trains(model: nn.Module, every: tuple[Block, ...], first: int, images: Tensor) -> None:
    """In train mode with weight decay and momentum, the optimiser holding every parameter."""
    modules = dict(model.named_modules())
    parameters = dict(model.named_parameters())
    frozen = {name for block in every[:first] for name in block.parameters}
    still = {id(parameters[name]) for name in frozen}
    model.train()
    assert {name for name, p in parameters.items() if not p.requires_grad} == frozen
    for block in every[:first]:
        assert not any(modules[name].training for name in block.modules)
    for name, module in modules.items():
        held = {id(p) for p in module.parameters()}
        if held:
            assert module.training == (not held & still), name
    before = {name: t.detach().clone() for name, t in [*parameters.items(), *model.named_buffers()]}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=0.1)
    ran: set[str] = set()
    hooks = [m.register_forward_pre_hook(lambda _m, _i, n=n: ran.add(n)) for n, m in modules.items()]
    losses = [o.square().mean() for o in tensors(model(images))]
    for hook in hooks:
        hook.remove()
    loss = torch.stack(losses).sum()
    assert bool(torch.isfinite(loss))
    loss.backward()
    nn.utils.clip_grad_value_(model.parameters(), 1.0)  # batch norms over two pixels have enormous ones
    optimiser.step()
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    gradients = {name for name, p in parameters.items() if p.grad is not None}
    assert {n for n, p in parameters.items() if not torch.equal(p, before[n])} == gradients
    assert {id(p) for p in optimiser.state} == {id(parameters[name]) for name in gradients}
    assert gradients and not gradients & frozen
    for block in every[first:]:
        assert gradients & set(block.parameters), block.name
    moved = {name for name, b in model.named_buffers() if not torch.equal(b, before[name])}
    assert moved == {
        f"{name}.{buffer}"
        for name, module in modules.items()
        if name in ran and isinstance(module, _BatchNorm) and not {id(p) for p in module.parameters()} & still
        for buffer, _ in module.named_buffers()
    }
    model.zero_grad()


def assert_holds(model: nn.Module, images: Tensor) -> None:
    """All of the above at 1.0, 0.5, 0.0 and the last block alone."""
    every = assert_complete(model)
    fill(model)
    assert_runs_in_order(model, every, images)
    for share, first in ((1.0, 0), (0.5, len(every) - int(len(every) / 2 + 0.5)), (0.0, len(every))):
        set_model_freeze(model, share)
        assert_step_moves_only_what_trains(model, every, first, images)
    set_model_freeze(model, 0.001)
    assert_step_moves_only_what_trains(model, every, len(every) - 1, images)


@pytest.mark.usefixtures("_quick_initialisation")
@pytest.mark.parametrize(("source", "name"), EXPECTED)
def test_blocks_are_the_authors_and_frozen_ones_stay(source: str, name: str) -> None:
    pixels, expected = EXPECTED[source, name]
    model = build(source, name, pixels)
    small_classifier(model, name)
    if name == "vit_tiny_patch16_224":
        model = timm.create_model(name, img_size=pixels)
    assert names_of(model) == expected
    assert_holds(model, images_of(pixels))


@pytest.mark.usefixtures("_quick_initialisation")
@pytest.mark.parametrize(("source", "name"), NAMES)
def test_names(source: str, name: str) -> None:
    with torch.device("meta"):
        model = build(source, name)
    assert names_of(model) == NAMES[source, name]
    assert_complete(model)


@pytest.mark.slow
@pytest.mark.usefixtures("_quick_initialisation")
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_torchvision_classifier(name: str) -> None:
    large = name.startswith("vit_") and name.endswith(("_32", "_14"))
    pixels = 2 * int(name[-2:]) if large else PIXELS.get(name, 32)
    model = build("torchvision", name, pixels)
    small_classifier(model, name)
    if name in NO_STEP:
        assert_complete(model)
    else:
        assert_holds(model, images_of(pixels))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_timm(name: str) -> None:
    torch.manual_seed(0)
    assert_holds(build("timm", name), images_of(FAMILIES[name]))


# Backbones and models


def small(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    monkeypatch.setattr("featcache.backbones.factory.settle", lambda *_: False)
    return load_backbone(ModelOptions(backbone=name, source=source, input_size=32, pretrained=False))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("torchvision", "resnet18"),
        ("torchvision", "squeezenet1_1"),
        ("torchvision", "mobilenet_v3_small"),
        ("timm", "convnext_atto"),
        ("timm", "mobilenetv3_small_050"),
    ],
)
def test_a_backbone_has_the_blocks_of_its_network(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = small(name, source, monkeypatch)
    model = Model(backbone, build_head([backbone.features, 3], 0.5))
    assert names_of(model) == names_of(backbone) == EXPECTED[source, name][1]
    assert {n for b in blocks(backbone) for n in b.parameters} == {n for n, _ in backbone.named_parameters()}
    assert {n for b in blocks(model) for n in b.parameters} == {f"backbone.{n}" for n, _ in backbone.named_parameters()}
    assert_holds(model, images_of(32))


def test_the_head_trains_with_its_dropout_while_the_backbone_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = small("mobilenet_v3_small", "torchvision", monkeypatch)
    model = Model(backbone, build_head([backbone.features, 8, 3], 0.5))
    set_model_freeze(model, 0.0)
    model.train()
    assert all(m.training for m in model.head.modules())
    assert backbone.frozen and not any(m.training for m in backbone.modules())
    set_model_freeze(model, 1.0)
    assert not backbone.frozen and all(m.training for m in model.modules())  # at once, in the model's mode
    model.eval()
    assert not any(m.training for m in model.modules())


def test_joined_backbones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = JoinedBackbone([small("squeezenet1_1", "torchvision", monkeypatch)] * 2)
    with pytest.raises(OptionsError, match="one network, got 2"):
        blocks(Model(joined, nn.Linear(4, 2)))


# Modules, modes and copies


def test_what_has_no_parameters_follows_what_was_registered_before() -> None:
    stem, *_, last = blocks(models.resnet18())
    assert {"conv1", "bn1", "relu", "maxpool"} == set(stem.modules)
    assert {"layer4", "layer4.1.relu", "avgpool"} <= set(last.modules)
    dense = {block.name: block.modules for block in blocks(models.densenet121())}
    assert "features.pool0" in dense["stem"]
    assert {"features.transition1", "features.transition1.norm"} <= set(dense["features.denseblock1"])
    assert "features.norm5" in dense["features.denseblock4"]
    swin = {block.name: block.modules for block in blocks(models.swin_t())}
    assert "features.2.reduction" in swin["features.3"] and "features.1.1.stochastic_depth" in swin["features.1"]


@pytest.fixture
def half() -> nn.Module:
    model: nn.Module = timm.create_model("test_resnet", drop_path_rate=0.1)
    set_model_freeze(model, 0.5)
    return model


def assert_half_holds(model: Any) -> None:
    every = blocks(model)
    for first in every[:2]:
        for name in first.modules:
            assert not model.get_submodule(name).training
    for last in every[-2:]:
        for name in last.modules:
            assert model.get_submodule(name).training, name
    assert model.fc.training and not model.training


def test_train_of_any_part_wakes_no_frozen_module(half: Any) -> None:
    for part in half.modules():
        part.train()
    assert_half_holds(half)
    half.layer1.eval().train().apply(lambda m: m.train(True))
    assert_half_holds(half)
    half.eval()
    assert not any(m.training for m in half.modules())
    half.train()
    assert_half_holds(half)


def test_copies_and_pickles_hold_their_own_modules(half: Any) -> None:
    file = io.BytesIO()
    torch.save(half, file)
    file.seek(0)
    for other in (copy.deepcopy(half), torch.load(file, weights_only=False)):
        half.eval()
        other.train()
        assert_half_holds(other)
        assert not any(m.training for m in half.modules())
        set_model_freeze(other, 1.0)
        assert all(m.training for m in other.modules())
        assert not any("train" in vars(m) for m in other.modules())
        half.train()
        assert_half_holds(half)


def test_blocks_are_unfrozen_one_after_another_and_frozen_again(half: Any) -> None:
    half.train()
    every = blocks(half)
    for first in (*range(len(every), -1, -1), *range(len(every) + 1)):
        train_from(half, every, first)
        frozen = {n for block in every[:first] for n in block.parameters}
        assert {n for n, p in half.named_parameters() if not p.requires_grad} == frozen
        for k, block in enumerate(every):
            assert {half.get_submodule(n).training for n in block.modules} == {k >= first}
        half(images_of(32)).sum().backward()
        assert {n for n, p in half.named_parameters() if p.grad is None} == frozen


def test_a_model_in_evaluation_mode_stays_in_it(half: Any) -> None:
    half.eval()
    set_model_freeze(half, 1.0)
    assert not any(m.training for m in half.modules())


# Any network


class Raw(nn.Module):
    """A parameter of its own, a head, and layers that come back."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(3))
        self.encoder = nn.Sequential(*(nn.TransformerEncoderLayer(4, 1, 8, batch_first=True) for _ in range(3)))
        self.fc = nn.Linear(4, 2)


def layer() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Linear(2, 2), "stem"),
        (nn.ReLU(), ""),
        (nn.Sequential(nn.Linear(2, 2)), "0"),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "0 2"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)), "0 3"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), layer(), layer(), nn.MaxPool2d(2), layer(), nn.BatchNorm2d(8)), "stem 1-2 4"),  # noqa: E501
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(layer()), nn.Conv2d(8, 8, 1), nn.Sequential(layer())), "stem 1 3"),  # noqa: E501
        (Raw(), "stem encoder.0 encoder.1 encoder.2"),
    ],
)  # fmt: skip
def test_custom_networks(model: nn.Module, expected: str) -> None:
    assert names_of(model) == expected
    every = assert_complete(model)
    for share in (0.0, 0.3, 1.0):
        set_model_freeze(model, share)
    train_from(model, every, len(every))
    model.train()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if n.startswith("fc.")
    }


def test_weights_that_two_blocks_share_are_in_one() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.MaxPool1d(2), nn.Linear(4, 4), nn.MaxPool1d(2), shared)
    assert [block.parameters for block in assert_complete(model)] == [("0.weight", "0.bias"), ("2.weight", "2.bias")]


@pytest.mark.parametrize(
    "wrong", [-0.1, 1.5, 2.0, 50, math.nan, math.inf, None, True, False, [0.5], ["layer4"], {}, np.array([0.1, 0.2])]
)
def test_what_is_no_part_of_the_blocks_is_refused(wrong: Any) -> None:
    expected = "Expected last_block, all, a fraction from 0 to 1, or one of stem, layer1, layer2, layer3, layer4"
    with pytest.raises(OptionsError, match=f"unfreeze_percent: got .*{expected}"):
        set_model_freeze(models.resnet18(), wrong)
    with pytest.raises(OptionsError, match="unfreeze_percent: got"):
        set_model_freeze(nn.Sequential(nn.Linear(2, 2)), wrong)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("lastblock", "last_block"), ("All", "all"), ("layer5", "layer4"), ("0.5", None), ("", None), ("head", None)],
)
def test_a_block_that_is_not_there_gives_the_nearest(wrong: str, meant: str | None) -> None:
    with pytest.raises(OptionsError, match=f"unfreeze_percent: the network has no block '{wrong}'") as caught:
        set_model_freeze(models.resnet18(), wrong)
    assert (f"(did you mean {meant!r}?)" in str(caught.value)) == (meant is not None)
    assert "Expected last_block, all, a fraction from 0 to 1, or one of stem, layer1" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "trained"),
    [("last_block", 1), ("all", 5), ("layer3", 2), ("stem", 5), (np.float32(0.5), 3), (np.int64(1), 5), (0, 0)],
)
def test_a_model_is_unfrozen_in_the_words_of_a_schedule(value: Any, trained: int) -> None:
    model = models.resnet18()
    set_model_freeze(model, 0.0)
    set_model_freeze(model, unfreeze_percent=value)
    every = blocks(model)
    moves = [all(model.get_parameter(n).requires_grad for n in b.parameters) for b in every]
    assert moves == [False] * (5 - trained) + [True] * trained
    # A schedule's step means the same blocks.
    names = [block.name for block in every]
    assert first_trained(value, names, "training.unfreeze_schedule") == 5 - trained


def test_a_network_without_parameters_has_nothing_to_freeze() -> None:
    for value in ("all", "last_block", 0.5):
        set_model_freeze(nn.Flatten(), value)
    with pytest.raises(OptionsError, match="or the name of a block"):
        set_model_freeze(nn.Flatten(), "layer4")


def test_places_beyond_the_blocks_are_refused(half: nn.Module) -> None:
    for first in (-1, 6):
        with pytest.raises(OptionsError, match=f"got {first}, but the network has 5 blocks"):
            train_from(half, blocks(half), first)


@pytest.mark.parametrize(("share", "trained"), [(0, 0), (0.001, 1), (0.1, 1), (0.29, 1), (0.3, 2), (0.5, 3), (0.9, 5)])
def test_how_many_blocks_train(share: float, trained: int) -> None:
    model = models.resnet18()
    set_model_freeze(model, share)
    every = blocks(model)
    assert sum(all(model.get_parameter(n).requires_grad for n in b.parameters) for b in every) == trained
    assert all(p.requires_grad for p in model.fc.parameters())


def test_the_cut_networks_blocks_are_the_whole_ones() -> None:
    for network in (models.vit_b_32(image_size=32), timm.create_model("levit_128s")):
        whole = names_of(network)
        trunk, _ = remove_classifier(network)
        assert names_of(trunk) == whole
