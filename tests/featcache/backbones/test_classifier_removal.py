"""The tap: what the network's own classifier makes of the pooled features is the network's own answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from featcache.backbones import Backbone, load_backbone
from featcache.backbones.classifier_removal import remove_classifier
from featcache.options.model_options import ModelOptions

AS_MAP = {"convnext_tiny", "maxvit_t"}  # their classifiers normalise or pool a map [N, F, 1, 1] first
BEHIND = ("fc.", "classifier.", "head.", "heads.", "aux", "AuxLogits.")  # torchvision's classifiers and side branches
TORCHVISION = [
    ("resnet18", 32, 512),
    pytest.param("vgg11", 32, 25088, marks=pytest.mark.slow),
    ("mobilenet_v3_large", 32, 960),
    ("densenet121", 32, 1024),
    ("convnext_tiny", 32, 768),
    ("efficientnet_b0", 32, 1280),
    ("swin_t", 32, 768),
    ("inception_v3", 96, 2048),
    ("googlenet", 64, 1024),
    ("shufflenet_v2_x0_5", 32, 1024),
    ("mnasnet0_5", 32, 1280),
    ("regnet_y_400mf", 32, 440),
    pytest.param("vit_b_16", 224, 768, marks=pytest.mark.slow),  # a small one of its kind is below
    pytest.param("maxvit_t", 224, 512, marks=pytest.mark.slow),
]

Rest = Callable[[Any, Tensor], Tensor]  # (the timm network, pooled features) -> logits
# name, size, F, what timm's network does after the tap, the names of those layers
TIMM: list[Any] = [
    (
        "mobilenetv3_small_100",
        32,
        576,
        lambda n, f: n.classifier(n.act2(n.norm_head(n.conv_head(f[..., None, None]))).flatten(1)),
        ("conv_head.", "norm_head.", "classifier."),
    ),
    ("test_resnet", 64, 96, lambda n, f: n.fc(f), ("fc.",)),
    ("test_efficientnet", 64, 256, lambda n, f: n.classifier(f), ("classifier.",)),
    ("test_convnext", 64, 64, lambda n, f: n.head.fc(n.head.norm(f[..., None, None]).flatten(1)), ("head.",)),
    ("vit_tiny_patch16_224", 64, 192, lambda n, f: n.head(f), ("head.",)),
    ("test_vit3", 64, 96, lambda n, f: n.head(f), ("head.",)),  # pools by attention
    ("levit_128s", 64, 384, lambda n, f: (n.head(f) + n.head_dist(f)) / 2, ("head.", "head_dist.")),
    # Rotary embeddings are read, not run: they are no leftovers.
    ("eva02_tiny_patch14_224", 56, 192, lambda n, f: n.head(f), ("head.",)),
    # Two branches, two heads in a list that is indexed and never run itself.
    pytest.param(
        "crossvit_tiny_240",
        240,
        288,
        lambda n, f: (n.head[0](f[:, :96]) + n.head[1](f[:, 96:])) / 2,
        ("head.",),
        marks=pytest.mark.slow,
    ),
]


def loaded(name: str, size: int, source: str = "torchvision") -> Backbone:
    return load_backbone(ModelOptions(backbone=name, source=source, input_size=size, pretrained=False))


def give_weights(network: nn.Module, backbone: Backbone) -> None:
    """The backbone's tensors into the whole network: all that is not in the classifier comes from there."""
    own = network.state_dict()  # tensors that share the network's memory
    for name, value in backbone.network.state_dict().items():
        own[name.removeprefix("network.")].copy_(value)
    network.eval()


def images_of(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_same(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3 * scale  # two images, two answers
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * scale)


def assert_counts_only_what_is_used(backbone: Backbone, network: nn.Module) -> None:
    """Neither the classifier nor auxiliary ones are in any parameter figure, nor in the module."""
    used = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(BEHIND))
    assert used < sum(p.numel() for p in network.parameters())
    assert backbone.info.params == sum(p.numel() for p in backbone.parameters()) == used
    assert not any("aux" in n.lower() for n in backbone.state_dict())


def no_settling(*_: object) -> bool:
    return False


@pytest.mark.parametrize(("name", "size", "features"), TORCHVISION)
def test_torchvision_classifier_on_the_features_gives_the_networks_logits(
    name: str, size: int, features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in {"vit_b_16", "maxvit_t"}:  # their own initialisation serves; asking 32 images of 224 takes ten seconds
        monkeypatch.setattr("featcache.backbones.factory.settle", no_settling)
    backbone = loaded(name, size)
    torch.manual_seed(2)
    extra = {"transform_input": True, "init_weights": False} if name in {"inception_v3", "googlenet"} else {}
    network = models.get_model(name, **extra)
    give_weights(network, backbone)
    classifier = list(network.children())[-1]
    if name == "vit_b_16":  # starts at zero: it would give every image the same logits
        nn.init.normal_(network.heads.head.weight)
    images = images_of(size)
    with torch.inference_mode():
        pooled = backbone(images)
        expected = network(images)
        logits = classifier(pooled[..., None, None] if name in AS_MAP else pooled)
    assert pooled.shape == (2, features) and backbone.features == features
    assert_same(logits, expected)
    assert_counts_only_what_is_used(backbone, network)


def test_torchvisions_transformers_are_tapped_before_their_heads() -> None:
    network = models.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(network.heads.head.weight)  # starts at zero: it would give every image the same logits
    classifier, images = network.eval().heads, images_of(32)
    with torch.inference_mode():
        expected = network(images)
        trunk, tap = remove_classifier(network)
        pooled = trunk(images)
        assert_same(classifier(pooled), expected)
    assert (pooled.shape, tap) == ((2, 16), "input of heads")


def test_squeezenet_is_tapped_before_its_convolutional_classifier() -> None:
    backbone = loaded("squeezenet1_0", 64)
    network = models.squeezenet1_0()
    give_weights(network, backbone)
    images = images_of(64)
    with torch.inference_mode():
        expected = network.features(images).mean(dim=(2, 3))
        found = backbone(images)
    assert backbone.features == 512
    assert_same(found, expected)
    assert_counts_only_what_is_used(backbone, network)


@pytest.mark.parametrize(("name", "size", "features", "rest", "behind"), TIMM)
def test_timm_layers_behind_the_tap_give_the_networks_logits(
    name: str, size: int, features: int, rest: Rest, behind: tuple[str, ...]
) -> None:
    backbone = loaded(name, size, "timm")
    torch.manual_seed(2)
    network = timm.create_model(name, num_classes=10, **({"img_size": size} if backbone_has_fixed_size(name) else {}))
    give_weights(network, backbone)
    images = images_of(size)
    with torch.inference_mode():
        pooled = backbone(images)
        expected = network(images)
        logits = rest(network, pooled)
    assert pooled.shape == (2, features) and backbone.features == features
    assert_same(logits, expected)
    kept = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(behind))
    assert backbone.info.params == kept < sum(p.numel() for p in network.parameters())


def backbone_has_fixed_size(name: str) -> bool:
    return bool(timm.get_pretrained_cfg(name).fixed_input_size)


def test_a_distilled_transformer_gives_the_mean_of_its_two_tokens() -> None:
    name, size = "deit_tiny_distilled_patch16_224", 64
    backbone = loaded(name, size, "timm")
    network = timm.create_model(name, img_size=size)
    give_weights(network, backbone)
    images = images_of(size)
    with torch.inference_mode():
        expected = network.forward_features(images)[:, :2].mean(dim=1)
        found = backbone(images)
    assert backbone.features == 192
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_with_auxiliary_classifiers_are_in_the_list(name: str) -> None:
    """So that the test above, which sees that these are gone, sees something."""
    with torch.device("meta"):
        network = models.get_model(name, init_weights=False)
    assert any("aux" in n.lower() for n in network.state_dict())
    assert name in {case[0] for case in TORCHVISION if isinstance(case, tuple)}


@pytest.mark.parametrize(("name", "size", "features"), [("googlenet", 64, 1024), ("inception_v3", 96, 2048)])
def test_without_auxiliary_classifiers_training_gives_features_too(name: str, size: int, features: int) -> None:
    network, _ = remove_classifier(models.get_model(name, weights=None, init_weights=False))
    found = network.train()(torch.randn(2, 3, size, size))
    assert isinstance(found, Tensor)
    assert found.shape == (2, features)
