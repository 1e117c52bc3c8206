"""An image file becomes upright 8-bit RGB pixels, or the reason why it cannot be read."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

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
                return to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise UnreadableImageError(f"not an image that Pillow knows ({len(data)} bytes)") from None
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the format's parser meets
        raise UnreadableImageError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of whatever mode; raises UnreadableImageError where the values have no agreed range."""
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
