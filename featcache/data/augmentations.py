"""An image and augmentations in, view v of it out: seeded by its content, v and the augmentations alone.

Views are what makes augmentation work with a cache: each is extracted once, and stage two draws one of them per
image and epoch. View 0 is the plain evaluation transform.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from featcache.data.automatic_augmentations import augmented
from featcache.data.transforms import functional, resize, to_uint8
from featcache.options import AugmentationSpec
from featcache.options import augmentation_options as kind
from featcache.records import Preprocessing, digest


def spec_digest(augmentations: Sequence[AugmentationSpec]) -> str:
    """Eight hex digits that name a list of augmentations: the store's group of their views."""
    return digest([a.model_dump(mode="json") for a in augmentations])[:8]


def view(
    image: Image.Image,
    sha256: str,
    number: int,
    augmentations: Sequence[AugmentationSpec],
    preprocessing: Preprocessing,
) -> Tensor:
    """View `number` of an upright RGB image: uint8 `[3, S, S]`; number 0 is the plain transform."""
    if number == 0:
        return to_uint8(image, preprocessing)
    F = functional()
    # Seeded by content and spec, so neither the order of files nor the other views matter.
    rng = random.Random(digest([sha256, number, spec_digest(augmentations)]))
    cropped = False
    erase: kind.RandomErasing | None = None
    for spec in augmentations:
        match spec:
            case kind.HorizontalFlip():
                if rng.random() < spec.p:
                    image = F.hflip(image)
            case kind.RandomCrop():
                image, cropped = _random_crop(resize(image, preprocessing), spec, preprocessing, rng), True
            case kind.RandomResizedCrop():
                image, cropped = _random_resized_crop(image, spec, preprocessing, rng), True
            case kind.Rotation():
                angle = rng.uniform(-spec.degrees, spec.degrees)
                image = F.rotate(image, angle, F.InterpolationMode.BILINEAR, fill=list(_mean_colour(preprocessing)))
            case kind.ColorJitter():
                image = _jitter(image, spec, rng)
            case kind.RandomErasing():
                erase = spec if rng.random() < spec.p else None
            case kind.TrivialAugment() | kind.RandAugment() | kind.AugMix():
                image = augmented(image, spec, rng.getrandbits(63), _mean_colour(preprocessing))
            case _:
                raise AssertionError(f"{spec.name} has no case here")
    tensor: Tensor = F.pil_to_tensor(image) if cropped else to_uint8(image, preprocessing)
    return _erase(tensor, erase, preprocessing, rng) if erase else tensor


def _random_crop(
    image: Image.Image, spec: kind.RandomCrop, preprocessing: Preprocessing, rng: random.Random
) -> Image.Image:
    side = preprocessing.input_size
    padding = spec.padding if spec.padding is not None else (0.0 if min(image.size) > side else 0.125)
    border = round(padding * side)
    # At least `side` in both directions, so that the crop never leaves the canvas.
    extra = [max(0, math.ceil((side - s) / 2)) for s in image.size]
    image = functional().pad(image, [border + extra[0], border + extra[1]], fill=_mean_colour(preprocessing))
    width, height = image.size
    left, top = rng.randint(0, width - side), rng.randint(0, height - side)
    return image.crop((left, top, left + side, top + side))


def _random_resized_crop(
    image: Image.Image, spec: kind.RandomResizedCrop, preprocessing: Preprocessing, rng: random.Random
) -> Image.Image:
    width, height = image.size
    side = preprocessing.input_size
    area = width * height * rng.uniform(*spec.scale)
    ratio = math.exp(rng.uniform(math.log(spec.ratio[0]), math.log(spec.ratio[1])))
    w = min(width, max(1, round(math.sqrt(area * ratio))))
    h = min(height, max(1, round(math.sqrt(area / ratio))))
    left, top = rng.randint(0, width - w), rng.randint(0, height - h)
    F = functional()
    cropped: Image.Image = F.resized_crop(
        image, top, left, h, w, [side, side], F.InterpolationMode(preprocessing.interpolation)
    )
    return cropped


def _jitter(image: Image.Image, spec: kind.ColorJitter, rng: random.Random) -> Image.Image:
    F = functional()
    image = F.adjust_brightness(image, rng.uniform(1 - spec.brightness, 1 + spec.brightness))
    image = F.adjust_contrast(image, rng.uniform(1 - spec.contrast, 1 + spec.contrast))
    image = F.adjust_saturation(image, rng.uniform(1 - spec.saturation, 1 + spec.saturation))
    jittered: Image.Image = F.adjust_hue(image, rng.uniform(-spec.hue, spec.hue))
    return jittered


def _erase(tensor: Tensor, spec: kind.RandomErasing, preprocessing: Preprocessing, rng: random.Random) -> Tensor:
    side = preprocessing.input_size
    area = side * side * rng.uniform(*spec.scale)
    ratio = math.exp(rng.uniform(math.log(0.3), math.log(3.3)))
    w = min(side, max(1, round(math.sqrt(area * ratio))))
    h = min(side, max(1, round(math.sqrt(area / ratio))))
    left, top = rng.randint(0, side - w), rng.randint(0, side - h)
    tensor.numpy()[:, top : top + h, left : left + w] = np.array(_mean_colour(preprocessing))[:, None, None]
    return tensor


def _mean_colour(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The colour that normalises to zero."""
    r, g, b = (round(255 * m) for m in preprocessing.mean)
    return r, g, b
