"""The images of an end-to-end training: which train, which choose the epoch, and their views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction import Extraction, Indices
from featcache.records import ImageRecord
from heads.training import training_weights


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The images of a training: labels `[N]`, how many views each has, which ones train, which choose the epoch."""

    images: tuple[ImageRecord, ...]
    labels: Indices
    views: Indices
    train: Indices
    val: Indices
    weights: NDArray[np.float64] | None = None  # what each counts in the loss [N]; None: all the same

    @property
    def first(self) -> Indices:
        """The row of each image's plain view, where the views of each image follow each other."""
        return np.cumsum(self.views) - self.views

    @property
    def rows(self) -> int:
        """Views of all images."""
        return int(self.views.sum())


def make_training_images(extraction: Extraction) -> TrainingImages:
    """Train and val of an extraction; training images have views, and those of weight 0 are not among
    those that train."""
    train, val = extraction.manifest.of("train"), extraction.manifest.of("val")
    images = (*train, *val)
    views = np.ones(len(images), np.int64)
    views[: len(train)] = extraction.views
    every = np.arange(len(images))
    labels = np.array([i.label for i in images], np.int64)
    trains, weights = training_weights(images, len(train))
    return TrainingImages(images, labels, views, every[: len(train)][trains], every[len(train) :], weights)
