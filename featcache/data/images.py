"""An image file becomes a uint8 tensor `[3, S, S]`, the same on every path that a network is fed by."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from featcache.records import Preprocessing

READER = f"pillow-{PIL.__version__}"  # what decides whether a file can be read
MAX_PIXELS = 178_956_970  # of a decoded image: Pillow's own limit against decompression bombs
MAX_ASPECT = 100  # longer over shorter side: a strip of 1 x 5000 pixels, resized, would take the memory
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice this figure


class UnreadableImageError(Exception):
    """This file is no image that can be read; the message is the reason. It goes to the quarantine list."""


def decode_image(source: str | Path | bytes) -> Image.Image:
    """The image in a file (or its bytes) as upright 8-bit RGB.

    The content decides the format, not the name. The first frame of animations; EXIF orientation applied;
    transparency on white; 16-bit scaled to 8-bit; CMYK, grey and palette converted. Raises UnreadableImageError.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if not data:
        raise UnreadableImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters raises
            with Image.open(io.BytesIO(data)) as image:
                if max(image.size) > MAX_ASPECT * min(image.size):
                    raise UnreadableImageError(f"{image.size[0]} x {image.size[1]} pixels is too narrow a strip")
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise UnreadableImageError(f"not an image that Pillow knows ({len(data)} bytes)") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the format's parser meets
        raise UnreadableImageError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImageError("floating-point pixels have no agreed range")
    if image.mode.startswith("I"):  # 16-bit grey, or 32-bit as Pillow opens some 16-bit files
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImageError(f"pixels from {values.min()} to {values.max()} are neither 8- nor 16-bit")
        image = Image.fromarray((values // 257).astype(np.uint8))  # 65535 -> 255
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def resize(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """`image` at the size that crops are taken from."""
    size = preprocessing.resize_size
    interpolation = InterpolationMode(preprocessing.interpolation)
    if preprocessing.resize_mode == "squash":
        squashed: Image.Image = F.resize(image, [size, size], interpolation)
        return squashed
    resized: Image.Image = F.resize(image, [size], interpolation)
    return resized


def to_uint8(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """`image` resized and centre-cropped: uint8 `[3, S, S]`."""
    side = preprocessing.input_size
    tensor: Tensor = F.pil_to_tensor(F.center_crop(resize(image, preprocessing), [side, side]))
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
            image = _to_rgb(ImageOps.exif_transpose(image))
        else:
            image = decode_image(image if isinstance(image, bytes) else Path(image))
        return normalise(to_uint8(image, self.preprocessing)[None], self.preprocessing)[0]

    def __repr__(self) -> str:
        return f"EvalTransform({self.preprocessing})"
