"""Folded batch norms give the same features; what cannot be folded is left alone."""

from __future__ import annotations

import threading

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from featcache.backbones.batchnorm_folding import fold_batch_norms


def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that have seen data: folding the identity would prove nothing."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            n = module.num_features
            module.running_mean = 0.1 * torch.randn(n, generator=generator)
            module.running_var = 0.5 + torch.rand(n, generator=generator)
            if module.affine:
                module.weight.data = 0.8 + 0.4 * torch.rand(n, generator=generator)
                module.bias.data = 0.1 * torch.randn(n, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "left"),
    # densenet normalises before its convolutions: half of its norms follow none.
    [
        ("resnet18", 0),
        ("mobilenet_v3_small", 0),
        ("efficientnet_b0", 0),
        ("shufflenet_v2_x0_5", 0),
        ("densenet121", 62),
    ],
)
def test_torchvisions_networks(name: str, left: int) -> None:
    torch.manual_seed(0)
    check(with_statistics(models.get_model(name, num_classes=16)), left)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "efficientnet_lite0", "regnetx_002"])
def test_timms_norms_keep_their_activation(name: str) -> None:
    torch.manual_seed(0)
    check(with_statistics(timm.create_model(name, num_classes=16)), 0)


def check(network: nn.Module, left: int) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with torch.no_grad():
        expected = network(IMAGES)
        folded, count = fold_batch_norms(network, IMAGES)
        assert count == norms(network) - left and norms(folded) == left
        assert (folded(IMAGES) - expected).norm() / expected.norm() < 1e-5
        assert torch.equal(network(IMAGES), expected)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


class Branching(nn.Module):
    """The convolution's output is used beside its norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


class Shared(nn.Module):
    """One convolution, two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.conv(self.one(self.conv(x)))).mean((2, 3))


class Changed(nn.Module):
    """The tensor is changed in place between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).relu_()).mean((2, 3))


class Reaching(nn.Module):
    """The norm's own weight is used beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) * self.norm.weight


@pytest.mark.parametrize("make", [Branching, Shared, Changed, Reaching])
def test_what_would_change_the_features_is_left_alone(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = with_statistics(make())
    with torch.no_grad():
        folded, count = fold_batch_norms(network, IMAGES)
        assert count == 0 and folded is network


def test_a_network_that_cannot_be_copied_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.lock = threading.Lock()  # type: ignore[assignment]
    assert fold_batch_norms(network.eval(), IMAGES) == (network, 0)
