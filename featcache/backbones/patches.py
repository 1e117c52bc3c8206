"""A network and a side in, whether its patches cover an image of that side, and which sides near it they cover."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from featcache.backbones.classifier_removal import remove_classifier, run_once
from featcache.backbones.shape_only import shapes
from featcache.backbones.source import Source

COMMON_STRIDE = 32  # of networks that shrink an image in five halvings


@dataclass
class Patches:
    """What the convolutions that cut patches were seen to do with an image."""

    side: int  # of the image, pixels
    units: list[int] = field(default_factory=list)  # how far apart their patches begin, in pixels of the image
    missed: bool = False  # whether what is at the right and at the bottom is in no patch

    @property
    def unit(self) -> int:
        """The sides that all of them cover are its multiples."""
        return max(self.units)


@contextmanager
def watched_patches(network: nn.Module, side: int) -> Iterator[Patches]:
    """Sees which patches `network` cuts from images of `side` pixels while the block runs it.

    Only in networks whose patches have places of their own, so that their authors meant a fixed number of them: what
    pads an image (swin's windows, `dynamic_img_pad`), overlaps (levit, pvt) or slides (convnext) is left alone.
    """
    seen = Patches(side)

    def note(layer: Any, inputs: tuple[Tensor, ...]) -> None:
        width, stride = inputs[0].shape[-1], layer.stride[0]
        # What lies before such a layer halves, up or down to a whole number.
        seen.units.append(2 ** round(math.log2(side / width)) * stride)
        seen.missed |= bool(width % stride)

    hooks = [layer.register_forward_pre_hook(note) for layer in _cutters(network)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def patch_side(network: nn.Module) -> int | None:
    """The patches that a network says it cuts, in pixels."""
    for module in network.modules():
        if getattr(module, "num_patches", None) is not None or type(module).__name__ == "NaFlexEmbeds":
            size = getattr(module, "patch_size", None)
            size = size[0] if isinstance(size, tuple | list) and size else size
            if isinstance(size, int):
                return size
    return None


def sizes_that_fit(source: Source, name: str, side: int, unit: int) -> tuple[int, ...]:
    """Which of the two multiples of `unit` around `side` the network takes when it is built for them."""
    return tuple(s for s in multiples_around(side, unit) if s != side and takes(source, name, s))


def takes(source: Source, name: str, side: int | None = None) -> bool:
    """Whether a network built for images of `side` pixels (None: of the published size) takes them."""
    if shapes(source, name, side) is not None:
        return True
    if shapes(source, name) is not None:
        return False
    try:  # it cannot do without values
        with torch.random.fork_rng(devices=[]):
            network, preprocessing = source.build(name, None, None, side)
        trunk, _ = remove_classifier(network.eval())
        run_once(trunk.eval(), torch.zeros(1, 3, preprocessing.input_size, preprocessing.input_size))
    except Exception:  # whatever it raises, it does not take this size
        return False
    return True


def multiples_around(side: int, unit: int) -> tuple[int, ...]:
    """The largest multiple of `unit` up to `side`, where there is one, and the next."""
    below = side // unit * unit
    return tuple(size for size in (below, below + unit) if size)


def _cutters(network: nn.Module) -> list[nn.Module]:
    """The convolutions that cut an image into patches without overlap and without padding."""
    from torchvision.models import SwinTransformer

    if any(getattr(m, "num_patches", None) is not None or isinstance(m, SwinTransformer) for m in network.modules()):
        return [layer for layer in network.modules() if _cuts(layer)]
    return []


def _cuts(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv2d)
        and layer.stride[0] > 1
        and tuple(layer.kernel_size) == tuple(layer.stride)
        and layer.padding in {(0, 0), "valid"}
    )
