"""A file that lacks its last bytes becomes the picture that is there, and the share of its pixels that is not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from featcache.data.pillow_files import Loaded, load_image, open_image, raw_mode_of, repeat_rows
from featcache.data.png_chunks import SIGNATURE, breaks_off

MAX_MISSING = 0.05  # of the pixels: with more, it is another picture

EOI = b"\xff\xd9"  # the end of a JPEG
START_OF_SCAN, RESTART_INTERVAL = 0xDA, 0xDD
WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}

# Their decoders write into the picture as they go, so that what is there can be told from what is not.
BY_ROWS = {"PNG", "BMP", "DIB", "GIF", "TIFF", "PPM", "TGA"}


def read_truncated(data: bytes) -> tuple[Loaded, float] | None:
    """The image with the share of its pixels that is missing; None where its format tells nothing, or a PNG was
    changed and not cut.

    A JPEG's missing pixels are grey, as every viewer shows them; elsewhere rows that are not whole repeat the nearest
    one that is.
    """
    if data.startswith(SIGNATURE) and not breaks_off(data):
        return None
    return _jpeg(data) if data.startswith(b"\xff\xd8") else _by_rows(data)


def _jpeg(data: bytes) -> tuple[Loaded, float] | None:
    data = data.rstrip(b"\xff")  # half a marker, which would make one of what follows
    restarts, complete = _scans(data)
    if not complete:
        return None  # whole passes over the picture are missing
    loaded = load_image(data + EOI)
    image = loaded.image
    # What changes when other bytes follow is what these bytes would have said.
    noise = np.random.default_rng(0).integers(0, 255, image.width * image.height // 4 + 4096, np.uint8)  # no markers
    other = load_image(data + noise.tobytes() + EOI).image
    differs = np.asarray(image) != np.asarray(other)
    missing = float((differs.any(axis=2) if differs.ndim == 3 else differs).mean())
    if restarts:  # from the next of them on, nothing changes: count whole rows as well
        if image.info.get("progressive"):
            return None
        filled = _filled(data, 2)
        if filled is None:
            return None
        block = 8 * max(layer[2] for layer in image.layer) if isinstance(image, JpegImagePlugin.JpegImageFile) else 8
        rows = int(filled[1].all(axis=1).sum())
        missing = max(missing, (rows - block) / image.height)
    return loaded, missing


def _scans(data: bytes) -> tuple[bool, bool]:
    """Whether a JPEG has restart markers, and whether its scans bring every coefficient to its last bit, as those of a
    progressive one do that is cut in the last of them only."""
    restarts = False
    exact: dict[int, set[int]] = {}
    every: set[int] = set()
    for kind, body in segments(data):
        if kind == RESTART_INTERVAL and len(body) >= 2:
            restarts = int.from_bytes(body[:2], "big") > 0
        elif kind in {0xC0, 0xC1, 0xC2} and len(body) >= 6:
            every = set(body[6 : 6 + 3 * body[5] : 3])
        elif kind == START_OF_SCAN and body and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[1 + 2 * body[0] :][:3]
            if bits & 15 == 0:
                for component in body[1 : 1 + 2 * body[0] : 2]:
                    exact.setdefault(component, set()).update(range(first, last + 1))
    return restarts, bool(every) and all(len(exact.get(c, ())) == 64 for c in every)


def segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment of a JPEG."""
    at = 2
    while at + 4 <= len(data):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return
        kind = data[at + 1]
        if kind in {0x00, 0xFF} or kind in WITHOUT_LENGTH:
            at += 1 if kind == 0xFF else 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        yield kind, data[at + 4 : at + 2 + size]
        at += 2 + size


def _by_rows(data: bytes) -> tuple[Loaded, float] | None:
    first, second = _filled(data, 0), _filled(data, 1)
    if first is None or second is None:
        return None
    loaded, untouched = first
    missing = untouched & second[1]
    share = float(missing.mean())
    if share > MAX_MISSING:
        return loaded, share  # too much for any row to stand in
    whole = np.flatnonzero(~missing.any(axis=1))
    broken = np.flatnonzero(missing.any(axis=1)).tolist()
    repeats = tuple((row, int(whole[np.abs(whole - row).argmin()])) for row in broken)
    repeat_rows(loaded.image, repeats)
    return replace(loaded, repeats=repeats), share


def _filled(data: bytes, value: int) -> tuple[Loaded, NDArray[np.bool_]] | None:
    """What of the image could be read, on a ground of `value`, and where the ground shows; None where it cannot be
    laid."""
    image = open_image(data)
    if image.format not in {*BY_ROWS, "JPEG"} or "transparency" in image.info:
        return None
    raw_mode = raw_mode_of(image)
    bands = len(image.getbands())
    ground = Image.new(image.mode, image.size, value if bands == 1 else (value,) * bands).im
    image.im = ground
    with contextlib.suppress(Exception):  # plugins raise whatever they meet where the bytes end
        image.load()
    if image.im is not ground:
        return None
    image.tile = []  # nothing more is read
    shows = np.asarray(image) == value
    return Loaded(image, data, raw_mode), shows.all(axis=2) if shows.ndim == 3 else shows
