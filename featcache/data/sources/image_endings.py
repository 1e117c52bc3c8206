"""The endings of files that are images by their name."""

from __future__ import annotations

from functools import cache

from PIL import Image

from featcache.data.file_formats import ENDINGS


@cache
def image_endings() -> frozenset[str]:
    """The endings of the formats that Pillow opens by itself, no placeholders for HDF5, no documents; and of those that
    packages beside it open, installed or not: what cannot be read for want of one is told so."""
    formats = set(Image.registered_extensions().values()) & set(Image.OPEN)
    formats -= {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats) | ENDINGS
