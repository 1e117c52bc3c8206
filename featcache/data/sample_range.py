"""Values of more than 8 bits become 8-bit ones: by the range that the file names, else by the data set's depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.records import Depth

PERCENTILES = (1, 99)  # which values are black and white under the depth "percentile"

BLOCK_VALUES = 1 << 22  # scaled at a time, so that memory stays bounded


class NoRangeError(Exception):
    """Nothing says which of the values are black and white."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The values of one image as its file has them, and what the file says of them."""

    values: NDArray[Any]  # [H, W], or [H, W, C] with C channels
    mode: str  # what Pillow calls their channels: L, LA, RGB, RGBA
    stated: tuple[float, float] | None = None  # which values are black and white, where the file says so
    inverted: bool = False  # the file says that its low values are white
    read_before: bool = False  # 8 bits were made of them when all had the depth of 16 bits
    garbled: bool = False  # and these were of other bytes than the values'

    @property
    def colours(self) -> NDArray[Any]:
        """The values without alpha."""
        return self.values[..., :-1] if self.mode in {"LA", "RGBA"} else self.values

    @property
    def floating(self) -> bool:
        """Whether they are floating-point values."""
        return bool(self.values.dtype.kind == "f")


def to_8_bit(samples: Samples, depth: Depth) -> Image.Image:
    """The image of mode `samples.mode`; raises NoRangeError where neither the file nor `depth` gives a range.

    Integers are rounded down, as 65535 / 257 is, floating-point values to the nearest.
    """
    low, high = samples.stated or _range(samples, depth)
    pixels = _scaled(samples.colours, low, high)
    if samples.inverted:
        np.subtract(255, pixels, out=pixels)
    if samples.mode in {"LA", "RGBA"}:
        alpha = samples.values[..., -1:]
        opaque = high if alpha.max() <= high else float(alpha.max())
        pixels = np.concatenate([pixels, _scaled(alpha, 0, opaque)], axis=2)
    return Image.fromarray(pixels)


def _range(samples: Samples, depth: Depth) -> tuple[float, float]:
    values = samples.colours
    rule = depth.floats if samples.floating else depth.integers
    if rule in {"minmax", "percentile"}:
        finite = values[np.isfinite(values)] if samples.floating else values
        if not finite.size:
            return 0, 0  # all black, as at any other depth: what is bad does not hang on it
        if rule == "minmax":
            return float(finite.min()), float(finite.max())
        low, high = np.percentile(finite, PERCENTILES)
        return float(low), float(high)
    if rule is not None:
        return 0, 2 ** int(rule) - 1
    white = 1 if samples.floating else 65535
    low, high = value_range(values)
    if low < 0 or high > white:
        kind = "floating-point values" if samples.floating else "values"
        raise NoRangeError(
            f"{kind} from {low:g} to {high:g} have no agreed range (expected 0 to {white}); data.depth gives them one"
        )
    return 0, white


def value_range(values: NDArray[Any]) -> tuple[float, float]:
    """The least and the largest finite value; 0 and 0 where there is none."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.any():
            return 0.0, 0.0
        return float(values.min(where=finite, initial=np.inf)), float(values.max(where=finite, initial=-np.inf))
    return float(values.min()), float(values.max())


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """`low` becomes 0 and `high` 255; what lies beyond is clipped, what is no number is black."""
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    pixels = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK_VALUES // max(1, values[0].size))
    # A table of what becomes of each value is faster than reckoning with them all.
    table = _spread(np.arange(65536), low, high) if values.dtype == np.uint16 else None
    for start in range(0, len(values), rows):
        block = values[start : start + rows]
        pixels[start : start + rows] = table[block] if table is not None else _spread(block, low, high)
    return pixels


def _spread(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    known = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (np.clip(known, low, high) - low) * 255 / (high - low)
    return (np.rint(scaled) if values.dtype.kind == "f" else np.floor(scaled)).astype(np.uint8)
