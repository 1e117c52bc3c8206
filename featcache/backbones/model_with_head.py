"""Images in, logits `[N, C]` out: a backbone with a head on top of it, and how wide and deep that head is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from featcache.backbones.backbone import Backbone, JoinedBackbone
from featcache.errors import OptionsError


class Model(nn.Module):
    """Backbone and head: normalised images `[N, 3, S, S]` to logits `[N, C]`; of joined backbones a batch for each."""

    def __init__(self, backbone: Backbone | JoinedBackbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.backbone(images))
        return logits


def build_head(dims: Sequence[int], dropout: float) -> nn.Sequential:
    """`Linear - ReLU - Dropout - .. - Linear` with the widths `dims`: features `[N, dims[0]]` to `[N, dims[-1]]`.

    Initialised from torch's generator, which is left as it was.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        for inputs, outputs in pairwise(dims[:-1]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1]))


def resolve_dims(classifier_dims: Sequence[int | str], backbone: str, features: int, classes: int) -> tuple[int, ...]:
    """`classifier_dims` in numbers; raises OptionsError when either end disagrees with the backbone or the data."""
    first, *hidden, last = classifier_dims
    wanted = [features, *hidden, classes]
    if first not in ("auto", features):
        raise OptionsError(
            f"model.classifier_dims starts with {first}, but {backbone} gives {features} features. "
            f'Expected {wanted}, or "auto" in the first place.'
        )
    if last not in ("auto", classes):
        raise OptionsError(
            f"model.classifier_dims ends with {last}, but the data has {classes} classes. "
            f'Expected {wanted}, or "auto" in the last place.'
        )
    return tuple(int(d) for d in wanted)
