"""Normalised images `[N, 3, S, S]` in, pooled features `[N, F]` out: a network without its classifier, or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from featcache.devices import HALF_PRECISIONS
from featcache.records import BackboneInfo, Depth, Preprocessing


class Backbone(nn.Module):
    """A network without its classifier: normalised images `[N, 3, S, S]` to pooled features `[N, F]`.

    It is made frozen, which means evaluation mode whatever `train()` says of its parent, and no gradients.
    """

    frozen: bool = True  # `freezing.train_from` unfreezes; blocks that stay frozen see to themselves

    def __init__(self, network: nn.Module, info: BackboneInfo) -> None:
        super().__init__()
        self.network = network
        self.info = info
        self.requires_grad_(False)
        self.eval()

    @property
    def features(self) -> int:
        """F, the width of the pooled features."""
        return self.info.features

    @property
    def preprocessing(self) -> Preprocessing:
        """What images must go through first."""
        return self.info.identity.preprocessing

    def at(self, precision: str) -> Backbone:
        """The same network at another precision."""
        return Backbone(self.network, replace(self.info, identity=replace(self.info.identity, precision=precision)))

    def at_depth(self, depth: Depth) -> Backbone:
        """The same network for images that are read at `depth`."""
        return Backbone(self.network, self.info.at_depth(depth))

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode while frozen: batch statistics and dropout must not move then."""
        return super().train(mode and not self.frozen)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, float32 `[N, F]`, under the precision that the identity names."""
        return run_network(self.network, images, self.info.identity.precision)


def run_network(network: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Features float32 `[N, F]`, computed under `precision`."""
    if precision not in HALF_PRECISIONS:  # tf32 is float32 to a network: the device rounds its products
        features: Tensor = network(images)
        return features
    with torch.autocast(images.device.type, dtype=getattr(torch, precision)):
        features = network(images)
    return features.float()


class JoinedBackbone(nn.Module):
    """Frozen networks side by side: a batch of images for each, normalised its way, to all their features `[N, F]`."""

    def __init__(self, parts: Sequence[Backbone]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def features(self) -> int:
        """F, of all parts together."""
        return sum(part.features for part in self._backbones)

    def forward(self, images: Sequence[Tensor]) -> Tensor:
        """Features of every part, in the order of their names."""
        if len(images) != len(self.parts):
            raise ValueError(f"{len(self.parts)} backbones take a batch of images each, got {len(images)}")
        return torch.cat([part(batch) for part, batch in zip(self._backbones, images, strict=True)], dim=1)

    @property
    def _backbones(self) -> list[Backbone]:
        return [part for part in self.parts if isinstance(part, Backbone)]
