"""A TIFF whose values are laid out as Pillow has no mode for becomes its values: 16- and 64-bit floating point, planes,
floating-point colours, grey with alpha, big-endian 32 bits."""

from __future__ import annotations

import importlib
import io
import logging
import zlib
from typing import Any, Literal

import numpy as np
from PIL import Image

from featcache.counted_nouns import counted
from featcache.data.file_formats import MissingPackageError, missing_package
from featcache.data.high_bits import BITS_PER_SAMPLE, PHOTOMETRIC, S_MAX, S_MIN, WHITE_IS_ZERO
from featcache.data.pillow_files import MAX_BYTES, SizeError, raw_mode_of, require_size
from featcache.data.sample_range import Samples

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
GREY_OR_RGB = {0, 1, 2}  # of TIFF's PhotometricInterpretation
PLANAR, PLANES = 284, 2  # its PlanarConfiguration
SAMPLE_FORMAT, SIGNED = 339, 2
UNCOMPRESSED = 1  # of TIFF's Compression
DEFLATE = {8, 32946}  # of its Compression
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_tiff(data: bytes) -> bool:
    """Whether a file begins like a TIFF whose directory is there."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    start = data[4:8] if data[2:4] in {b"*\0", b"\0*"} else data[8:16]
    return data.startswith(SIGNATURES) and 0 < int.from_bytes(start, order) < len(data)


def is_garbled(image: Image.Image) -> bool:
    """Whether Pillow opens a TIFF and would read its bytes for other values: colours of 16 bits, plane by plane, and
    grey of 8 bits with a sign."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (1,))
    if image.mode == "L" and tags.get(SAMPLE_FORMAT, (1,)) in {SIGNED, (SIGNED,)} and tuple(bits) == (8,):
        return True
    planes = tags.get(PLANAR) == PLANES and len(bits) > 1 and max(bits) > 8
    return planes and ";16" not in raw_mode_of(image)  # where libtiff decompresses them they are right


def read_tiff(data: bytes) -> tuple[Image.Image | Samples, int]:
    """The values of the first page, as an image where they have 8 bits, and how many pages there are.

    Raises MissingPackageError without tifffile, SizeError, ValueError and whatever else tifffile meets.
    """
    try:
        tifffile: Any = importlib.import_module("tifffile")
    except ImportError as error:
        raise MissingPackageError(missing_package("a TIFF laid out like this", "tifffile", "images", error)) from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters raises
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        require_size(int(page.imagewidth), int(page.imagelength))  # a broken file's may be words
        channels, photometric = page.samplesperpixel, page.tags[PHOTOMETRIC].value
        if channels not in MODES or int(photometric) not in GREY_OR_RGB or page.imagedepth > 1:
            raise ValueError(
                f"a TIFF of {counted(channels, 'channel')}, photometric {int(photometric)}, is neither grey nor RGB"
            )
        _require_bounded(page, data)
        values = page.asarray()
        if values.dtype.kind not in "uif":
            raise ValueError(f"a TIFF of {values.dtype} values")
        if channels > 1 and values.shape[0] == channels and page.planarconfig == PLANES:
            values = np.moveaxis(values, 0, -1)
        values = values.reshape(page.imagelength, page.imagewidth, *([channels] if channels > 1 else []))
        inverted = int(photometric) == WHITE_IS_ZERO
        if values.dtype == np.uint8:
            return Image.fromarray(255 - values if inverted else values), len(file.pages)
        values = values.astype(values.dtype.newbyteorder("="))
        stated = _stated(page.tags.get(S_MIN), page.tags.get(S_MAX))
        garbled = page.planarconfig == PLANES and values.dtype == np.uint16
        return Samples(values, MODES[channels], stated, inverted, garbled=garbled), len(file.pages)


def _require_bounded(page: Any, data: bytes) -> None:
    """Raise ValueError for compressed values that would take more memory than they should."""
    if page.nbytes > MAX_BYTES:
        raise SizeError(f"{counted(page.nbytes, 'byte')} of values are more than {MAX_BYTES}")
    if page.compression not in {UNCOMPRESSED, *DEFLATE}:
        raise ValueError(
            f"a TIFF laid out like this is read uncompressed or deflated, not compressed as {page.compression!r}"
        )
    if page.compression in DEFLATE:
        if len(page.dataoffsets) != len(page.databytecounts):
            raise ValueError("damaged: its directory does not say where all of its values lie")
        left = 4 * page.nbytes + 65536  # tiles at the edges are larger than what is seen of them
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            inflater = zlib.decompressobj()
            left -= len(inflater.decompress(data[start : start + size], left))
            if inflater.unconsumed_tail or left <= 0:
                raise ValueError("compressed values that are more than the image has pixels")


def _stated(least: Any, most: Any) -> tuple[float, float] | None:
    if most is None:
        return None
    low, high = float(np.min(least.value)) if least is not None else 0.0, float(np.max(most.value))
    return (low, high) if np.isfinite([low, high]).all() and low < high else None
