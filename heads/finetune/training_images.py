"""The images of an end-to-end training: which train, which choose the epoch, and their views."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Backbone
from featcache.extraction import CachedFeatures, Extraction, Indices
from featcache.records import ImageRecord
from featcache.session import Session
from heads.distill import Lesson
from heads.training import SoftTargets, training_weights


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """The images of a training: labels `[N]`, how many views each has, which ones train, which choose the epoch."""

    images: tuple[ImageRecord, ...]
    labels: Indices
    views: Indices
    train: Indices
    val: Indices
    weights: NDArray[np.float64] | None = None  # what each counts in the loss [N]; None: all the same
    soft: SoftTargets | None = None  # what a teacher answers to each view, where the network learns from one

    @property
    def first(self) -> Indices:
        """The row of each image's plain view, where the views of each image follow each other."""
        return np.cumsum(self.views) - self.views

    @property
    def rows(self) -> int:
        """Views of all images."""
        return int(self.views.sum())


def make_training_images(extraction: Extraction, folds: bool = False) -> TrainingImages:
    """Train and val of an extraction; training images have views, and those of weight 0 are not among
    those that train. With `folds` the two are one pool, all of which trains and all of which is judged."""
    train, val = extraction.manifest.of("train"), extraction.manifest.of("val")
    images = (*train, *val)
    views = np.ones(len(images), np.int64)
    count = len(images) if folds else len(train)
    views[:count] = extraction.views
    every = np.arange(len(images))
    labels = np.array([i.label for i in images], np.int64)
    trains, weights = training_weights(images, count)
    judged = every if folds else every[count:]
    return TrainingImages(images, labels, views, every[:count][trains], judged, weights)


def taught(
    images: TrainingImages, lesson: Lesson, cached: CachedFeatures, session: Session, backbone: Backbone
) -> TrainingImages:
    """`images` with the teacher's answers, and with the unlabelled ones of a lesson among those that train."""
    extra, count = lesson.readable(cached, session, backbone), len(images.labels)
    every = (*images.images, *extra)
    views = np.append(images.views, np.full(len(extra), cached.parts[0].views))
    soft, guessed = lesson.targets(every, views, len(extra), session)
    return replace(
        images,
        images=every,
        labels=np.append(images.labels, guessed),
        views=views,
        train=np.append(images.train, np.arange(count, len(every))),
        weights=None if images.weights is None else np.append(images.weights, np.ones(len(extra))),
        soft=soft,
    )
