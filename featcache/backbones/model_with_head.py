"""Images in, logits `[N, C]` out: a backbone with a head on top of it, and how wide and deep that head is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from featcache.backbones.backbone import Backbone, JoinedBackbone
from featcache.counted_nouns import counted
from featcache.errors import OptionsError
from featcache.options import Normalise


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


EPSILON = 1e-20  # under the root: what keeps an image of zeros finite, and is nothing beside features of any scale

# Normalisations of one image's features by themselves, which stand in front of the head without weights of their own:
# [N, F] to features whose root mean square is 1. What is fitted on training images is in the head's first layer.
IMAGE_NORMALISATIONS: dict[Normalise, Callable[[int], nn.Module]] = {
    "l2": lambda width: nn.RMSNorm(width, eps=EPSILON, elementwise_affine=False),  # x / |x| times the root of F
    "layernorm": lambda width: nn.LayerNorm(width, eps=EPSILON, elementwise_affine=False),  # Ba et al. 2016
}


def build_head(dims: Sequence[int], dropout: float, normalise: Normalise = "none") -> nn.Sequential:
    """`Linear - ReLU - Dropout - .. - Linear` with the widths `dims`: features `[N, dims[0]]` to `[N, dims[-1]]`.

    Initialised from torch's generator, which is left as it was. With l2 or layernorm that comes first, and the names of
    the weights stay; standard and scale are fitted on images, which a fresh head knows nothing of.
    """
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        for inputs, outputs in pairwise(dims[:-1]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        head = nn.Sequential(*layers, nn.Linear(dims[-2], dims[-1]))
    if normalise not in IMAGE_NORMALISATIONS:
        return head
    return put_in_front(head, IMAGE_NORMALISATIONS[normalise](dims[0]))


def put_in_front(head: nn.Sequential, module: nn.Module) -> nn.Sequential:
    """`head` with `module` first, called `normalise`: the weights of the head keep their names."""
    return nn.Sequential(OrderedDict([("normalise", module), *head.named_children()]))


def resolve_dims(classifier_dims: Sequence[int | str], backbone: str, features: int, classes: int) -> tuple[int, ...]:
    """`classifier_dims` in numbers; raises OptionsError when either end disagrees with the backbone or the data."""
    first, *hidden, last = classifier_dims
    wanted = [features, *hidden, classes]
    if first not in ("auto", features):
        raise OptionsError(
            f"model.classifier_dims starts with {first}, but {backbone} gives {counted(features, 'feature')}. "
            f'Expected {wanted}, or "auto" in the first place.'
        )
    if last not in ("auto", classes):
        raise OptionsError(
            f"model.classifier_dims ends with {last}, but the data has {counted(classes, 'class')}. "
            f'Expected {wanted}, or "auto" in the last place.'
        )
    return tuple(int(d) for d in wanted)
