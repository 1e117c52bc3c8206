"""A file's bytes become a loaded Pillow image within the limits, and the values that Pillow cuts to 8 bits whole."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from featcache.data.file_formats import is_jxl, prepare_plugin
from featcache.data.jxl_header import jxl_size

MAX_PIXELS = 178_956_970  # of a decoded image: Pillow's own limit against decompression bombs


MAX_BYTES = 8 * MAX_PIXELS  # of such values, and of what is inflated: 64 bits of grey, or 16 of four channels


MAX_ASPECT = 100  # longer over shorter side: a strip of 1 x 5000 pixels, resized, would take the memory


Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises at twice this figure

logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what matters raises

SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class SizeError(Exception):
    """The image is too large, or too narrow, to be decoded."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """An image whose pixels are in memory, and where they come from."""

    image: Image.Image
    data: bytes
    raw_mode: str  # how the file lays out its values, as Pillow names it; "" where it does not say
    repeats: tuple[tuple[int, int], ...] = ()  # rows that the file lacks, each with the one that stands in for it


def require_size(width: int, height: int) -> None:
    """Raise SizeError for a size that is not decoded."""
    if width * height > MAX_PIXELS:
        raise SizeError(f"{width} x {height} = {width * height} pixels are more than {MAX_PIXELS}")
    if min(width, height) < 1 or max(width, height) > MAX_ASPECT * min(width, height):
        raise SizeError(f"{width} x {height} pixels is too narrow a strip")


def open_image(data: bytes) -> ImageFile.ImageFile:
    """The image in `data`, of an allowed size, before its pixels are read; raises what Pillow's plugins do."""
    prepare_plugin(data[:64])
    if is_jxl(data[:12]):
        require_size(*jxl_size(data))  # its plugin decodes when it opens
    try:
        image = Image.open(io.BytesIO(data))
    except RuntimeError as error:  # of libjxl, which says no more
        raise ValueError("broken, or its end is missing") from error
    require_size(*image.size)
    return image


def load_image(data: bytes) -> Loaded:
    """The image in `data` with its pixels; raises what Pillow's plugins do."""
    image = open_image(data)
    raw_mode = raw_mode_of(image)
    image.load()
    return Loaded(image, data, raw_mode)


def whole_values(loaded: Loaded) -> NDArray[np.uint16] | None:
    """The 16-bit values `[H, W, C]` of a colour image (C 3 or 4), or of grey with alpha (2), of which Pillow keeps the
    upper bytes alone; None of any other image."""
    raw, _, order = loaded.raw_mode.partition(";16")
    if order not in SWAPPED or loaded.image.mode not in {"RGB", "RGBA"}:
        return None
    if raw == "LA":  # read as four channels, its bytes are all there
        both = np.asarray(_read_as(loaded, "RGBA", "RGBA")).astype(np.uint16)
        return _joined(both[..., 0::2], both[..., 1::2])
    if raw not in {"RGB", "RGBX", "RGBA"}:
        return None
    upper = np.asarray(loaded.image).astype(np.uint16)
    lower = np.asarray(_read_as(loaded, loaded.image.mode, f"{raw};16{SWAPPED[order]}"))
    return _joined(upper, lower)


def _joined(upper: NDArray[np.uint16], lower: NDArray[Any]) -> NDArray[np.uint16]:
    values = upper * np.uint16(256)
    values += lower
    return values


def raw_mode_of(image: Image.Image) -> str:
    """How a file whose pixels are not read yet lays out its values, as Pillow names it; "" where it does not say."""
    tiles: list[Any] = getattr(image, "tile", [])
    if not tiles:
        return ""
    arguments = tiles[0].args
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def repeat_rows(image: Image.Image, repeats: Iterable[tuple[int, int]]) -> None:
    """Have each row of `image` that its file lacks show what the row beside it in `repeats` does."""
    for row, other in repeats:
        image.paste(image.crop((0, other, image.width, other + 1)), (0, row))


def _read_as(loaded: Loaded, mode: str, raw_mode: str) -> Image.Image:
    """The image that was loaded, as if its values were laid out as `raw_mode`."""
    image = open_image(loaded.data)
    image._mode = mode
    image.tile = [
        tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
        for tile in image.tile
    ]
    with (
        contextlib.suppress(Exception) if loaded.repeats else contextlib.nullcontext()
    ):  # its end is known to be missing
        image.load()
    image.tile = []  # nothing more is read
    repeat_rows(image, loaded.repeats)
    return image
