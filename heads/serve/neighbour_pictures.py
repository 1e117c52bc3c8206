"""Small pictures of the training images that answers name as neighbours, by their numbers in the training space."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image

from featcache.data import UnreadableImageError, decode_image
from featcache.errors import FeatcacheError
from featcache.records import Depth, ImageRecord
from heads.predict import TrainingSpace, training_images
from heads.runs import Run, cache_of

log = logging.getLogger("featcache")

SIDE = 160  # pixels of the longer side
QUALITY = 80
KEPT = 1024  # pictures in memory, of about 6 kB


class NeighbourPictures:
    """JPEG pictures of images, made when they are first asked for."""

    def __init__(self, images: Sequence[ImageRecord], depth: Depth) -> None:
        self._images, self._depth = images, depth
        self.picture = lru_cache(KEPT)(self._make)  # number -> JPEG, None where there is no such picture

    def _make(self, number: int) -> bytes | None:
        """None of what is no number of an image, and where its content is not there any more or is no image."""
        if not 0 <= number < len(self._images):
            return None
        image = self._images[number]
        try:
            data = image.place.read()
            if hashlib.sha256(data).hexdigest() != image.sha256:
                return None
            picture = decode_image(data, self._depth)
        except (OSError, UnreadableImageError):
            return None
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY)
        return file.getvalue()


def neighbour_pictures(run: Run, space: TrainingSpace | None, cache_dir: Path | None) -> NeighbourPictures | None:
    """Pictures of a run's training images; None, having said why, where they are not known."""
    if space is None:
        return None
    try:
        manifest = training_images(run, space, cache_of(run) if cache_dir is None else cache_dir)
    except FeatcacheError as error:
        log.warning("pictures of the nearest training images are not shown (%s)", error)
        return None
    return NeighbourPictures(manifest.images, manifest.depth)
