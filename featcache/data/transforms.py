"""Pixels become the network's input: resized, cropped, normalised, the same on every path."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from featcache.data.image_files import decode_image, picture_of
from featcache.records import Preprocessing


@cache
def functional() -> Any:
    """torchvision's functions on images, imported with the first image: that takes longer than importing torch, and
    who only reads what others computed, such as `featcache report`, need not wait for it."""
    from torchvision.transforms import functional

    return functional


def resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """`image` at the size that crops are taken from."""
    size = preprocessing.resize_size
    interpolation = functional().InterpolationMode(preprocessing.interpolation)
    if preprocessing.resize_mode == "squash":
        squashed: Image.Image = functional().resize(image, [size, size], interpolation)
        return squashed
    resized: Image.Image = functional().resize(image, [size], interpolation)
    return resized


def to_uint8(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """`image` resized and centre-cropped: uint8 `[3, S, S]`."""
    side = preprocessing.input_size
    cropped = functional().center_crop(resize(image, preprocessing), [side, side])
    tensor: Tensor = functional().pil_to_tensor(cropped)
    return tensor


def normalise(batch: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Uint8 `[N, 3, S, S]` on any device becomes the network's float32 input there."""
    mean = torch.tensor(preprocessing.mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std, device=batch.device).view(1, 3, 1, 1)
    return (batch.to(torch.float32) / 255).sub_(mean).div_(std)


class EvalTransform:
    """A path, bytes or Pillow image becomes the network's input `[3, S, S]` (float32)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: str | os.PathLike[str] | bytes | Image.Image) -> Tensor:
        """Decode, resize, crop, normalise."""
        if isinstance(image, Image.Image):
            image = picture_of(image, self.preprocessing.depth)
        else:
            image = decode_image(image if isinstance(image, bytes) else Path(image), self.preprocessing.depth)
        return normalise(to_uint8(image, self.preprocessing)[None], self.preprocessing)[0]

    def __repr__(self) -> str:
        return f"EvalTransform({self.preprocessing})"
