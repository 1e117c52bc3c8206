"""Small pictures of images: made from the files the first time, read from the cache from then on."""

from __future__ import annotations

import hashlib
import io
import logging
import sqlite3
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from PIL import Image

from featcache.data import UnreadableImageError, decode_image
from featcache.errors import FeatcacheError
from featcache.places import ImagePlace
from featcache.records import PLAIN_DEPTH, Depth, ImageRecord

log = logging.getLogger("featcache")

SIDE = 88  # pixels of the longer side
QUALITY = 60
FILE = "thumbnails.sqlite"  # under the cache folder: content hash -> WebP
TABLE = "CREATE TABLE IF NOT EXISTS thumbnails (sha256 TEXT, side INTEGER, webp BLOB, PRIMARY KEY (sha256, side))"


def thumbnails(images: Iterable[ImageRecord], cache_dir: Path, depth: Depth = PLAIN_DEPTH) -> dict[str, bytes]:
    """WebP pictures by content hash, at most SIDE pixels long, of values as they are shown at `depth`; without those
    whose file is gone, changed or unreadable.

    What is made is kept under `cache_dir`, so that a page can be written again where the images are not. A cache that
    cannot be written only costs time.
    """
    wanted = {image.sha256: image.place for image in images}
    if not cache_dir.is_dir():  # a page never makes a cache where none is
        return _made(wanted, depth)
    at = "" if depth == PLAIN_DEPTH else f":{depth.integers}:{depth.floats}"  # after the hash in the cache
    try:
        with closing(sqlite3.connect(cache_dir / FILE, timeout=30)) as kept, kept:
            kept.execute(TABLE)
            keys = {h + at: h for h in wanted}
            found = {
                keys[key]: p
                for key, p in kept.execute("SELECT sha256, webp FROM thumbnails WHERE side = ?", (SIDE,))
                if key in keys
            }
            new = _made({h: place for h, place in wanted.items() if h not in found}, depth)
            kept.executemany(
                "INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", [(h + at, SIDE, p) for h, p in new.items()]
            )
            return {**found, **new}
    except (sqlite3.Error, FeatcacheError, OSError) as error:
        log.warning("%s: pictures are not remembered (%s)", cache_dir / FILE, error)
        return _made(wanted, depth)


def _made(places: Mapping[str, ImagePlace], depth: Depth) -> dict[str, bytes]:
    with ThreadPoolExecutor() as pool:
        pictures = pool.map(partial(_thumbnail, depth), places.items())
    return {sha256: picture for sha256, picture in zip(places, pictures, strict=True) if picture is not None}


def _thumbnail(depth: Depth, image: tuple[str, ImagePlace]) -> bytes | None:
    """None where that content is not there any more."""
    sha256, place = image
    try:
        data = place.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            return None
        picture = decode_image(data, depth)
    except (OSError, UnreadableImageError):
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=QUALITY, method=4)
    return file.getvalue()
