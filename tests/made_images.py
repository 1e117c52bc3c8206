"""Image files written by hand, for what Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type
TIFF_TYPES = {3: "H", 4: "I", 11: "f", 12: "d"}


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    """The file that Pillow writes of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, *, sound: bool = True) -> bytes:
    """A chunk of a PNG; one that is not `sound` has a wrong checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (not sound))


def png16(values: NDArray[Any], *before: bytes) -> bytes:
    """A PNG of 16-bit values `[H, W]` or `[H, W, C]`, with further chunks before its pixels."""
    height, width, *rest = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOUR[rest[0] if rest else 1], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [chunk(b"IHDR", header), *before, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def with_chunk(data: bytes, inserted: bytes) -> bytes:
    """A PNG with one more chunk, right after its header."""
    return data[:33] + inserted + data[33:]


def tiff(
    pixels: bytes,
    size: tuple[int, int],
    bits: int | tuple[int, ...],
    photometric: int = 1,
    *,
    big_endian: bool = False,
    further: dict[int, tuple[int, tuple[float, ...]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip; `further` tags have their type and values."""
    order = ">" if big_endian else "<"
    bits = bits if isinstance(bits, tuple) else (bits,)
    tags: dict[int, tuple[int, tuple[float, ...]]] = {
        256: (4, (size[0],)),
        257: (4, (size[1],)),
        258: (3, bits),
        259: (3, (1,)),
        262: (3, (photometric,)),
        273: (4, (0,)),
        277: (3, (len(bits),)),
        278: (4, (size[1],)),
        279: (4, (len(pixels),)),
        **(further or {}),
    }
    start = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    packed: dict[int, bytes] = {}
    for tag, (kind, values) in tags.items():
        packed[tag] = b"".join(struct.pack(order + TIFF_TYPES[kind], v) for v in values)
    extra_size = sum(len(p) for p in packed.values() if len(p) > 4)
    packed[273] = struct.pack(order + "I", start + extra_size) * len(tags[273][1])  # every strip is the same one
    entries = b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        body = packed[tag]
        if len(body) > 4:
            body, extra = struct.pack(order + "I", start + len(extra)), extra + body
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(tags)) + entries + b"\0\0\0\0" + extra + pixels


def ramp(width: int, height: int, most: int, dtype: str = "<u2") -> NDArray[Any]:
    """Values from 0 to `most`, each as often as any other."""
    return np.linspace(0, most, width * height).round().astype(dtype).reshape(height, width)


def noise(width: int, height: int, channels: int = 3) -> Image.Image:
    """A smooth picture without two rows alike."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, channels), np.uint8)
    return Image.fromarray(small.squeeze()).resize((width, height), Image.Resampling.BICUBIC)
