"""The network in two: front and rest are the network, in features and in gradients."""

from __future__ import annotations

import copy

import networks
import pytest
import torch
from test_blocks import NO_STEP, PIXELS
from torch import Tensor, nn
from torchvision import models

from featcache.backbones import Backbone, Block, blocks, load_backbone, train_from
from featcache.backbones.network_split import Split, split
from featcache.options.model_options import ModelOptions

SMALL = {  # name: pixels a side
    "networks:four_stages": 32,
    "networks:with_dropout": 32,
    "networks:drops_first": 32,
    "resnet18": 32,
    "squeezenet1_1": 48,
    "mobilenet_v3_small": 32,
    "shufflenet_v2_x0_5": 32,
    "mnasnet0_5": 32,
    "convnext_atto": 32,
    "mobilenetv3_small_050": 32,
    "vit_tiny_patch16_224": 32,
}
LARGER = {
    "regnet_y_400mf": 32,
    "pvt_v2_b0": 64,
    "ghostnet_050": 32,
    "edgenext_xx_small": 64,
    "densenet121": 32,
    "swin_t": 64,
    "efficientnet_b0": 32,
    "googlenet": 64,
    "levit_128s": 224,
    "cait_xxs24_224": 224,
    "xcit_nano_12_p16_224": 64,
    "coat_lite_tiny": 224,
    "vgg11": 32,
    "inception_v3": 96,
    "deit_tiny_distilled_patch16_224": 224,
    "mobilevit_xxs": 64,
    "swin_tiny_patch4_window7_224": 224,
}
LATER = ("shufflenet_v2_x0_5", "mnasnet0_5", "regnet_y_400mf", "mobilenetv3_small_050", "pvt_v2_b0", "ghostnet_050")
HUGE = {*NO_STEP, "vit_l_16", "vit_l_32", "regnet_y_32gf", "convnext_large", "vgg16", "vgg16_bn", "vgg13", "vgg13_bn",
        "vgg19", "vgg19_bn", "regnet_y_16gf", "regnet_x_32gf", "wide_resnet101_2"}  # fmt: skip


def load(name: str, pixels: int) -> Backbone:
    model = ModelOptions(backbone=name, input_size=pixels, pretrained=False)
    return load_backbone(model, allow_custom=True)


def places(every: tuple[Block, ...]) -> list[int]:
    """Before the second block, in the middle, before the last one."""
    count = len(every)
    return sorted({1, count // 2, count - 1} - {0})


def some_images(backbone: Backbone, count: int) -> Tensor:
    side = backbone.preprocessing.input_size
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(7))


def require_whole(backbone: Backbone, found: Split) -> None:
    """Front and rest are the network, for numbers of images that were not tried when it was cut."""
    for count in (1, 5):
        images = some_images(backbone, count)
        with torch.no_grad():
            rows = found.front(images)
            again, expected = found.rest(rows), backbone(images)
        assert rows.shape == (count, found.width)
        scale = float(expected.abs().max())
        assert torch.allclose(again, expected, atol=1e-4 * scale), f"{count} images"


def gradients(network: nn.Module, inputs: Tensor) -> Tensor:
    torch.manual_seed(3)  # of dropout and stochastic depth
    features: Tensor = network(inputs)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(4))
    (features * weights).sum().backward()
    return features.detach()


def take(network: nn.Module) -> dict[str, Tensor]:
    """Gradients by name, which are gone from the network afterwards."""
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize(
    ("name", "pixels"), [*SMALL.items(), *(pytest.param(*x, marks=pytest.mark.slow) for x in LARGER.items())]
)
def test_front_and_rest_are_the_network(name: str, pixels: int) -> None:
    backbone = load(name, pixels)
    every = blocks(backbone)
    for first in places(every):
        found = split(backbone, every, first)
        assert found is not None, f"{name} cannot be cut before {every[first].name}"
        require_whole(backbone, found)


@pytest.mark.parametrize(
    "name",
    [
        *("networks:four_stages", "networks:with_dropout", "resnet18", "squeezenet1_1", "mobilenet_v3_small"),
        *("vit_tiny_patch16_224", "convnext_atto"),
        *(pytest.param(n, marks=pytest.mark.slow) for n in LATER),
    ],
)
def test_training_the_rest_is_training_the_network_with_its_front_frozen(name: str) -> None:
    backbone = load(name, {**SMALL, **LARGER}[name])
    every = blocks(backbone)
    for first in places(every)[-1:] if name in {"vit_tiny_patch16_224", "resnet18"} else places(every)[-2:]:
        train_from(backbone, every, first)
        backbone.eval()
        found = split(backbone, every, first)
        assert found is not None
        images = some_images(backbone, 6)
        with torch.no_grad():
            rows = found.front(images)
        state = copy.deepcopy(backbone.state_dict())
        backbone.train()
        expected = gradients(backbone, images)
        grads, moved = take(backbone), copy.deepcopy(backbone.state_dict())
        backbone.load_state_dict(state)
        backbone.eval()
        found.rest.train()
        before = rows.clone()
        assert torch.allclose(gradients(found.rest, rows), expected, atol=1e-3 * float(expected.abs().max()))
        assert torch.equal(rows, before)  # they are there for the next epoch too
        again = take(backbone)
        trained = {n for block in every[first:] for n in block.parameters}
        assert set(grads) == set(again) <= trained
        # Summed over all: batch norms of a few values multiply the rounding of single weights.
        change = sum(float((grads[n] - again[n]).square().sum()) for n in grads)
        assert change <= 1e-4 * sum(float(g.square().sum()) for g in grads.values())
        for key, value in backbone.state_dict().items():  # batch statistics too
            assert torch.allclose(value.float(), moved[key].float(), rtol=1e-3, atol=1e-4), key
        backbone.load_state_dict(state)
        backbone.eval()


def test_what_is_frozen_gets_no_gradients_and_no_statistics() -> None:
    backbone = load("networks:four_stages", 32)
    every = blocks(backbone)
    train_from(backbone, every, 2)
    found = split(backbone, every, 2)
    assert found is not None
    before = copy.deepcopy(backbone.state_dict())
    found.rest.train()
    with torch.no_grad():
        rows = found.front(some_images(backbone, 8))
    gradients(found.rest, rows)
    moved = {n for n, t in backbone.state_dict().items() if not torch.equal(t, before[n])}
    assert {n.split(".")[1] for n in moved} == {"layer3", "layer4"}
    assert {n.split(".")[1] for n in take(backbone)} == {"layer3", "layer4"}


def test_what_the_trained_part_does_in_training_it_does_when_it_is_cut_off() -> None:
    """A module that holds several blocks and has a dropout of its own."""
    backbone = load("networks:nested", 32)
    every = blocks(backbone)
    assert [b.name for b in every] == ["stem", "body.layer2", "body.layer3", "body.layer4"]
    train_from(backbone, every, 1)
    backbone.eval()
    found = split(backbone, every, 1)
    if found is None:
        return  # as good: every epoch runs the whole network
    images = some_images(backbone, 8)
    with torch.no_grad():
        rows = found.front(images)
    state = copy.deepcopy(backbone.state_dict())
    backbone.train()
    torch.manual_seed(3)
    expected = backbone(images)
    backbone.load_state_dict(state)
    found.rest.train()
    torch.manual_seed(3)
    assert torch.allclose(found.rest(rows), expected, atol=1e-4)


def test_what_depends_on_the_images_cannot_be_cut() -> None:
    backbone = load("networks:branching", 32)
    every = blocks(backbone)
    images = some_images(backbone, 4)
    with torch.no_grad():
        before = backbone(images)
    assert all(split(backbone, every, first) is None for first in (1, 2, 3))
    with torch.no_grad():
        assert torch.equal(backbone(images), before)  # the attempt leaves the network as it was


class Halves(networks.FourStages):
    """The batch in two groups: a number at the cut that is the same for two images as for three."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        half = x.shape[0] // 2
        x = self.layer2(x)
        return self.finish_late(torch.cat([x[:half], x[half:].flip(3)]))

    def finish_late(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.layer4(self.layer3(x))).flatten(1))
        return logits


def halves() -> tuple[nn.Module, object]:
    return networks._seeded(Halves)


def test_numbers_that_follow_the_batch_in_other_ways_are_not_taken_for_constants() -> None:
    backbone = load("test_network_split:halves", 32)
    every = blocks(backbone)
    found = split(backbone, every, 1)
    if found is not None:
        require_whole(backbone, found)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_cut_without_a_loss(name: str, precision: str) -> None:
    backbone = load(name, 32).at(precision)
    every = blocks(backbone)
    found = split(backbone, every, len(every) - 1)
    assert found is not None
    images = some_images(backbone, 4)
    with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, precision)):
        again, expected = found.rest(found.front(images).float()), backbone.network(images)
    assert torch.allclose(again.float(), expected.float(), rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(models.list_models(module=models)) - HUGE))
def test_every_torchvision_network_can_be_cut(name: str) -> None:
    fixed = {"swin": 64, "vit_": 224}  # a transformer is built for one size
    backbone = load(name, PIXELS.get(name, fixed.get(name[:4], 32)))
    every = blocks(backbone)
    if len(every) < 2:
        pytest.skip("one block")
    cuts = [split(backbone, every, first) for first in places(every)]
    assert all(cuts), [every[f].name for f, c in zip(places(every), cuts, strict=True) if c is None]
    for found in cuts:
        require_whole(backbone, found)
