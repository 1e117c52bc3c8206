"""Weights narrowed once: features are autocast's own, bit for bit; what would change them is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featcache.backbones import fold_batch_norms, load_backbone, narrow_weights
from featcache.options import ModelOptions

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def autocast(network: nn.Module, images: Tensor, precision: str = "bfloat16") -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", getattr(torch, precision)):
        found: Tensor = network(images)
    return found


def dtypes(network: nn.Module, *kinds: type[nn.Module]) -> set[torch.dtype]:
    return {p.dtype for m in network.modules() if isinstance(m, kinds) for p in m.parameters(recurse=False)}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "convnext_atto"])
def test_features_are_those_of_autocast(name: str, precision: str) -> None:
    backbone = load_backbone(ModelOptions(backbone=name, input_size=64, pretrained=False))
    network, _ = fold_batch_norms(backbone.network, IMAGES)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    narrow, numbers = narrow_weights(network, IMAGES[:2], precision)
    assert numbers > 0.9 * sum(p.numel() for p in network.parameters())
    assert torch.equal(autocast(narrow, IMAGES, precision), autocast(network, IMAGES, precision))
    assert dtypes(narrow, nn.Conv2d, nn.Linear) == {getattr(torch, precision)}
    assert dtypes(narrow, nn.LayerNorm) <= {torch.float32}
    after = network.state_dict()
    assert all(torch.equal(after[key], value) and after[key].dtype == value.dtype for key, value in before.items())


def test_attention_is_narrowed_only_where_that_changes_nothing() -> None:
    torch.manual_seed(0)
    network = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    tokens = torch.randn(2, 5, 16)
    narrow, numbers = narrow_weights(network, tokens, "bfloat16")
    assert torch.equal(autocast(narrow, tokens), autocast(network, tokens))
    assert numbers in {0, 2 * 16 * 32 + 16 + 32, 2 * 16 * 32 + 16 + 32 + 4 * 16 * 16 + 4 * 16}


class SquaredWeights(nn.Linear):
    """A layer that does something in float32 with its weights first."""

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.linear(images, self.weight.square())


class WeightsUsedTwice(nn.Module):
    """A layer's weights that are also added up outside of it, where autocast leaves them as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images) * self.layer.weight.exp().sum(0)
        return found


class Hook:
    def __deepcopy__(self, memo: object) -> Hook:
        raise TypeError("cannot be copied")


@pytest.mark.parametrize("make", [lambda: SquaredWeights(8, 8), WeightsUsedTwice, lambda: nn.LayerNorm(8)])
def test_what_would_change_is_left_alone(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = make()
    found, numbers = narrow_weights(network, torch.randn(4, 8), "bfloat16")
    assert found is network and numbers == 0
    assert dtypes(network, nn.Module) == {torch.float32}


def test_a_network_that_cannot_be_copied_is_left_alone() -> None:
    network = nn.Linear(8, 8)
    network.hook = Hook()  # type: ignore[assignment]
    assert narrow_weights(network, torch.randn(4, 8), "bfloat16") == (network, 0)
