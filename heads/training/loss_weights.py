"""What each training image counts in the loss, by the weights that the data gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.data import relative_weights
from featcache.extraction import Indices
from featcache.options import TrainingOptions
from featcache.records import ImageRecord

Weights = NDArray[np.float64]


def training_weights(images: Sequence[ImageRecord], count: int) -> tuple[NDArray[np.bool_], Weights | None]:
    """Which of the first `count` images, those of training, train `[count]`: all but those that weigh 0. And what each
    image counts in the loss `[N]`, on no particular scale: None where all that train count the same."""
    weights = relative_weights(images[:count])
    if weights is None:
        return np.ones(count, np.bool_), None
    trains = weights > 0
    own = weights[trains]
    alike = (own == own[0]).all()
    return trains, None if alike else np.append(weights, np.ones(len(images) - count))


def weight_scales(training: TrainingOptions, labels: Indices, weights: Weights, of_classes: Weights) -> Weights:
    """What the weight of an image of each class is multiplied by `[C]`, where training images have these `labels` and
    `weights` `[N]` and their classes count `of_classes` `[C]`.

    Their mean becomes 1, so that a learning rate means what it does without weights: over all images, as their classes
    count; with balanced draws over those of each class, whose share of an epoch is the draws' to say.
    """
    images = np.bincount(labels, minlength=len(of_classes))
    sums = np.bincount(labels, weights, minlength=len(of_classes))
    if training.balanced_draws:
        return images / np.where(images > 0, sums, 1.0)
    return np.full(len(of_classes), (of_classes * images).sum() / (of_classes * sums).sum())
