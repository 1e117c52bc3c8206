"""Arrays of pixels become files in memory that hold the same values, byte for byte the same on every machine.

Sources: Netpbm's PGM and PPM (8 bits, grey or RGB: what Pillow saves too); TIFF 6.0, baseline, one uncompressed strip.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONG, SHORT = 4, 3  # types of a TIFF's tags
FORMATS = {"u": 1, "i": 2, "f": 3}  # SampleFormat
CHANNELS_FIRST = "its channels come first"


def no_picture(shape: Sequence[int]) -> str:
    """What goes on after "has the shape [..]" where no array of this shape is a picture; "" where one is."""
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in {1, 2, 3, 4}):
        return ""
    return f": {CHANNELS_FIRST}" if len(shape) == 3 and shape[0] in {1, 2, 3, 4} else ", which is no picture's"


def picture_bytes(pixels: NDArray[Any]) -> bytes:
    """The file of one picture: `[H, W]`, or `[H, W, C]` of grey (1), RGB (3) or either with alpha (2, 4).

    8-bit grey and RGB as PGM and PPM, whose bytes are the same for every encoder; the rest as TIFF. Truth values are
    black and white. Raises ValueError for any other array.
    """
    wrong = no_picture(pixels.shape)
    if wrong:
        raise ValueError(f"an array of the shape {list(pixels.shape)} is no picture{wrong.partition(',')[0]}")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8 and channels in {1, 3}:
        header = f"P{5 if channels == 1 else 6}\n{pixels.shape[1]} {pixels.shape[0]}\n255\n"
        return header.encode() + np.ascontiguousarray(pixels).tobytes()
    if pixels.dtype == np.int64 or pixels.dtype == np.uint64:
        pixels = _narrowed(pixels)
    if pixels.dtype.kind not in FORMATS:
        raise ValueError(f"values of the type {pixels.dtype} are no pixels")
    return _tiff(pixels, channels)


def _narrowed(pixels: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers that fit 16 bits as such."""
    least, most = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    if least < 0 or most > 65535:
        raise ValueError(f"values from {least} to {most} are no pixels")
    return pixels.astype(np.uint16)


def _tiff(pixels: NDArray[Any], channels: int) -> bytes:
    height, width = pixels.shape[:2]
    body = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    bits, kind = 8 * pixels.dtype.itemsize, FORMATS[pixels.dtype.kind]
    tags: list[tuple[int, int, list[int]]] = [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [bits] * channels),
        (259, SHORT, [1]),  # not compressed
        (262, SHORT, [1 if channels < 3 else 2]),  # black is 0, or RGB
        (273, LONG, [0]),  # where the strip begins: set below
        (277, SHORT, [channels]),
        (278, LONG, [height]),
        (279, LONG, [len(body)]),
        *([(338, SHORT, [2])] if channels in {2, 4} else []),  # alpha that colours are not multiplied by
        (339, SHORT, [kind] * channels),
    ]
    end = 8 + 2 + 12 * len(tags) + 4
    further = b""
    entries = []
    room = sum(2 * len(v) for _, t, v in tags if t == SHORT and len(v) > 2)
    for tag, kind_of, values in tags:
        given = [end + room] if tag == 273 else values
        packed = struct.pack(f"<{len(given)}{'I' if kind_of == LONG else 'H'}", *given)
        if len(packed) > 4:
            further, packed = further + packed, struct.pack("<I", end + len(further))
        entries.append(struct.pack("<HHI", tag, kind_of, len(given)) + packed.ljust(4, b"\0"))
    return (
        struct.pack("<2sHI", b"II", 42, 8)
        + struct.pack("<H", len(tags))
        + b"".join(entries)
        + bytes(4)
        + further
        + body
    )
