"""An image's bytes become what there is to say of them: format, size, mode, what is odd, and a small picture."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.data.file_formats import HEAD_BYTES, is_dicom
from featcache.data.guarded_decoding import DECODE_TIMEOUT_S, is_suspect, within_limits
from featcache.data.image_files import read_picture
from featcache.data.pillow_files import open_image
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Depth, ImageRecord

SIDE = 64  # pixels of the small picture


@dataclass(frozen=True)
class ImageFacts:
    """What a file is, and what is done with it."""

    format: str = "?"  # as Pillow names it
    mode: str = "?"  # of Pillow, as the file has it: RGB, L, I;16, ..
    size: tuple[int, int] = (0, 0)  # width and height of the upright picture, in pixels
    pages: int = 1
    repaired: str = ""  # what is broken, and read in spite of it
    unreadable: str = ""  # why it is left out


def look_at(
    image: ImageRecord, depth: Depth, timeout_s: float | None = DECODE_TIMEOUT_S
) -> tuple[ImageFacts, NDArray[np.uint8] | None]:
    """The facts of an image, and its picture as it is shown at `depth`, squashed to `[SIDE, SIDE, 3]`; None where it
    cannot be read."""
    try:
        data = image.place.read()
    except OSError as error:
        return ImageFacts(unreadable=str(error)), None
    kind, mode = _kind_within(data, timeout_s)
    try:
        picture = read_picture(data, depth, timeout_s)
    except UnreadableImageError as error:
        return ImageFacts(kind, mode, unreadable=str(error)), None
    small = np.asarray(picture.image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.uint8)
    return ImageFacts(kind, mode, picture.image.size, picture.pages, picture.repaired), small


def _kind_within(data: bytes, timeout_s: float | None) -> tuple[str, str]:
    if timeout_s is None or not is_suspect(data):
        return _kind(data)
    try:  # some decode when they open
        return within_limits(_kind, (data,), timeout_s)
    except UnreadableImageError:
        return "?", "?"


def _kind(data: bytes) -> tuple[str, str]:
    """Format and mode, where Pillow can tell."""
    if is_dicom(data[:HEAD_BYTES]):
        return "DICOM", "?"
    with contextlib.suppress(Exception):  # what is wrong with it is said when it is read
        image = open_image(data)
        return image.format or "?", image.mode
    return "?", "?"
