"""The endings of files that are images by their name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import PurePosixPath

from PIL import Image

from featcache.data.file_formats import ENDINGS

IDENTIFIER = re.compile(r"[0-9]+(\.[0-9]+){3,}")  # of DICOM: scanners name files by it


def may_be_image(name: str) -> bool:
    """Whether a file of this name is taken for an image. One without an ending may well be one, and so may one named by
    a DICOM identifier; one called .txt or .csv is not meant to be."""
    last = PurePosixPath(name)
    return not last.suffix or last.suffix.lower() in image_endings() or IDENTIFIER.fullmatch(last.name) is not None


@cache
def image_endings() -> frozenset[str]:
    """The endings of the formats that Pillow opens by itself, no placeholders for HDF5, no documents; and of those that
    packages beside it open, installed or not: what cannot be read for want of one is told so."""
    formats = set(Image.registered_extensions().values()) & set(Image.OPEN)
    formats -= {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats) | ENDINGS
