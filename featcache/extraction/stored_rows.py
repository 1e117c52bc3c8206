"""Cached features read back: rows of images and their views, those of several backbones side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.one_backbone import Extraction
from featcache.extraction.side_by_side import CachedFeatures
from featcache.records import ImageRecord
from featcache.store import FeatureStore

Indices = NDArray[np.int64]


def read_plain(cached: CachedFeatures, images: Sequence[ImageRecord]) -> NDArray[np.float32]:
    """Features `[N, F]` of the plain view of these images, in their order."""
    rows = StoreRows(cached, tuple(images), np.ones(len(images), np.int64))
    return rows.read(np.arange(len(images)))


@dataclass(frozen=True)
class StoreRows:
    """Features that are read from their stores; those of several backbones lie side by side."""

    cached: CachedFeatures
    images: tuple[ImageRecord, ...]
    views: Indices

    @property
    def width(self) -> int:
        """F."""
        return self.cached.features

    def read(self, images: Indices) -> NDArray[np.float32]:
        """The rows of these images."""
        parts = [self._read(e, images) for e in self.cached.parts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _read(self, extraction: Extraction, images: Indices) -> NDArray[np.float32]:
        hashes = [self.images[i].sha256 for i in images]
        return read_rows(extraction.store, extraction.spec, hashes, self.views[images])


def read_rows(store: FeatureStore, spec: str | None, contents: Sequence[str], views: Indices) -> NDArray[np.float32]:
    """Features `[R, F]` of contents by their hashes: the plain view of each, followed by its other views."""
    first = np.cumsum(views) - views
    rows = np.empty((int(views.sum()), store.info.features), np.float32)
    rows[first] = store.read(contents)
    several = np.flatnonzero(views > 1)
    if len(several):
        augmented = store.read([contents[i] for i in several.tolist()], spec)
        rows[row_places(first[several] + 1, views[several] - 1)] = augmented.reshape(-1, augmented.shape[2])
    return rows


def row_places(first: Indices, views: Indices) -> Indices:
    """Every row of images whose rows start at `first`: `first[i], first[i] + 1, ..` of each, one after the other."""
    starts = np.cumsum(views) - views
    return np.repeat(first - starts, views) + np.arange(int(views.sum()))
