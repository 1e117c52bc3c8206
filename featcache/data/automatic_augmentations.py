"""TrivialAugment, RandAugment and AugMix, as torchvision has them, drawn from a seed of one's own.

torchvision draws from torch's one global generator, which threads that decode and the training beside them share: here
every draw inside comes from a generator of the view's seed, in this thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

from featcache.options import augmentation_options as kind

_DRAWS = frozenset(
    {
        torch.rand,
        torch.randint,
        torch.randn,
        torch.randperm,
        torch.multinomial,
        torch.bernoulli,
        torch._sample_dirichlet,
    }
)

Automatic = kind.TrivialAugment | kind.RandAugment | kind.AugMix


class _Drawing(TorchFunctionMode):
    """Random draws inside the block, of this thread, come from `generator`."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self._generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in _DRAWS:
            given["generator"] = self._generator
        return func(*args, **given)


def drawing_from(seed: int) -> AbstractContextManager[object]:
    """What torch's functions draw in this thread inside the block follows from `seed`, as after
    `torch.manual_seed(seed)`; its global generator stays as it is."""
    return _Drawing(torch.Generator().manual_seed(seed))


def augmented(image: Image.Image, spec: Automatic, seed: int, fill: tuple[int, int, int]) -> Image.Image:
    """An RGB image after torchvision's transform of that name; what it moves in from outside is of colour `fill`.

    TrivialAugment: Mueller and Hutter 2021; RandAugment: Cubuk et al. 2020; AugMix: Hendrycks et al. 2020.
    """
    from torchvision.transforms import v2  # late, as all of torchvision: see `functional` of transforms.py

    colour = [float(part) for part in fill]
    bilinear = v2.InterpolationMode.BILINEAR
    transform: v2.Transform
    match spec:
        case kind.TrivialAugment():
            transform = v2.TrivialAugmentWide(spec.bins, bilinear, colour)
        case kind.RandAugment():
            transform = v2.RandAugment(spec.operations, spec.magnitude, interpolation=bilinear, fill=colour)
        case kind.AugMix():
            transform = v2.AugMix(
                spec.severity, spec.width, spec.depth or -1, spec.alpha, interpolation=bilinear, fill=colour
            )
    with drawing_from(seed):
        found: Image.Image = transform(image)
    return found
