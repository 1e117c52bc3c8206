"""An image that has more than 8 bits to a value gives its values, and what its own tags say of their range."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.data.pillow_files import Loaded, raw_mode_of, whole_values
from featcache.data.png_chunks import SIGNATURE, significant_bits
from featcache.data.sample_range import Samples, value_range

# Tags of TIFF 6.0.
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT, S_MIN, S_MAX = 258, 262, 339, 340, 341
WHITE_IS_ZERO, UNSIGNED = 0, 1

FULL = (0.0, 65535.0)

JPEG_2000 = b"\xff\x4f\xff\x51"  # how its codestream begins: the start, and the header of the image's size


def has_high_bits(image: Image.Image) -> bool:
    """Whether an image, open and not loaded, may have more than 8 bits to a value."""
    return image.mode == "F" or image.mode.startswith("I") or ";16" in raw_mode_of(image)


def grey_samples(image: Image.Image, data: bytes = b"") -> Samples | None:
    """The values of a loaded grey image; None where its values have 8 bits or less, or are colours."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return None
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if values.dtype == np.int32 and _first(tags.get(BITS_PER_SAMPLE)) == 32 and _first(tags.get(SAMPLE_FORMAT, 1)) == 1:
        values = values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    if values.dtype.kind in "iu" and values.dtype.itemsize == 2:
        values = values.astype(np.uint16)  # in the machine's byte order
    low, high = value_range(values)
    return Samples(
        values,
        "L",
        _stated(values, tags, data),
        inverted=tags.get(PHOTOMETRIC) == WHITE_IS_ZERO,
        read_before=values.dtype.kind != "f" and low >= 0 and high <= FULL[1],
    )


def colour_samples(loaded: Loaded) -> Samples | None:
    """The values of a colour image, or of a grey one with alpha, of 16 bits each; None of any other image."""
    values = whole_values(loaded)
    if values is None:
        return None
    mode = {2: "LA", 3: "RGB", 4: "RGBA"}[values.shape[2]]
    colours = values[..., :-1] if mode != "RGB" else values
    return Samples(values, mode, _stated(colours, getattr(loaded.image, "tag_v2", {}), loaded.data), read_before=True)


def may_state_range(loaded: Loaded) -> bool:
    """Whether the file of a colour image has a tag that may say which of its values are black and white."""
    if ";16" not in loaded.raw_mode:
        return False
    if loaded.data.startswith(SIGNATURE):
        return significant_bits(loaded.data) is not None
    return S_MAX in getattr(loaded.image, "tag_v2", {})


def _stated(values: NDArray[Any], tags: Any, data: bytes) -> tuple[float, float] | None:
    """Which values are black and white, where the file says so."""
    least, most = tags.get(S_MIN), tags.get(S_MAX)
    if most is not None:
        low, high = float(np.min(least)) if least is not None else 0.0, float(np.max(most))
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    bits = _first(tags.get(BITS_PER_SAMPLE))
    if bits is not None and 8 < bits < 16:
        return 0.0, float(2**bits - 1)
    if data.startswith(SIGNATURE):
        return _of_sbit(values, data)
    return FULL if values.dtype.kind != "f" and _is_spread(data) else None


def _is_spread(data: bytes) -> bool:
    """Whether Pillow has spread the values over all 16 bits, from fewer of which the file says how many."""
    if data.startswith((b"P2", b"P5")):
        header = re.sub(rb"#[^\n]*", b"", data[:1024]).split(None, 4)
        return int(header[3]) < FULL[1]
    start = data[:4096].find(JPEG_2000) if data.startswith(JPEG_2000[:2]) or data[4:8] == b"jP  " else -1
    return start >= 0 and data[start + 42] & 0x7F < 15  # the bits of its first component, less one


def _of_sbit(values: NDArray[Any], data: bytes) -> tuple[float, float] | None:
    """PNG's sBIT says how many bits were there before they were spread over all 16; some writers do not spread them."""
    bits = significant_bits(data)
    if bits is None or not 8 <= bits < 16:
        return None
    wide = np.unique(values).astype(np.uint32)
    rest = 16 - bits
    upper = wide >> rest
    if not (wide & ((1 << rest) - 1)).any() or np.array_equal(wide, upper << rest | upper >> (bits - rest)):
        return FULL
    return (0.0, float(2**bits - 1)) if wide[-1] < 2**bits else None


def _first(tag: Any) -> int | None:
    value = tag[0] if isinstance(tag, tuple) and tag else tag
    return value if isinstance(value, int) else None
