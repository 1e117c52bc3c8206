"""What an image counts in the loss by its class: weights by name, or such that all classes count alike; and with the
image's own weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction import Indices
from featcache.options import TrainingOptions, require_class_names
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.loss_weights import Weights, weight_scales


def class_weights(
    training: TrainingOptions, classes: Sequence[str], train: Indices, weights: Weights | None = None
) -> Weights | None:
    """The weight of each class `[C]` where training images have the labels `train`, and count `weights` where they
    have such; None where all classes weigh the same.

    "balanced" is N / (classes x images of the class), as scikit-learn has it (King and Zeng 2001), where an image that
    weighs 2 is two images; a class that is not named weighs 1. Raises OptionsError for a name that no class has.
    """
    asked = training.class_weights
    if asked is None:
        return None
    require_class_names(asked, classes)
    if asked == "balanced":
        images = np.bincount(train, weights, minlength=len(classes))
        there = images > 0
        return np.where(there, images.sum() / (there.sum() * np.where(there, images, 1)), 1.0)
    return np.array([asked.get(c, 1.0) for c in classes], np.float64)


@dataclass(frozen=True)
class Shares:
    """What each image counts, `[K, steps x B]`; 0 for what only fills a batch up."""

    softmax: NDArray[np.float32]  # in the pull towards its softmax: its share of the batch's mean
    target: NDArray[np.float32]  # in the pull towards its target, whose classes are weighted already
    loss: NDArray[np.float32]  # its weighted loss in the epoch's sum


class StackWeights:
    """The weights of classes and images for a stack; heads without class weights are as among their like."""

    def __init__(self, features: Features, heads: Sequence[HeadSpec]) -> None:
        names = features.class_names or tuple(map(str, range(features.classes)))
        weighted, of_classes, scales = [], [], []
        for head in heads:
            train = features.folds[head.fold].train
            labels, weights = features.labels[train], None if features.weights is None else features.weights[train]
            own = class_weights(head.training, names, labels, weights)
            weighted.append(own is not None)
            of_classes.append(np.ones(len(names)) if own is None else own)
            if weights is not None:
                scales.append(weight_scales(head.training, labels, weights, of_classes[-1]))
        self._weighted = np.array(weighted)[:, None]
        self.of_classes = np.stack(of_classes)  # [K, C]
        self._images = features.weights
        self._scales = np.stack(scales) if scales else None  # of the weights of images of each class [K, C]
        self._smoothing = np.array([h.training.label_smoothing for h in heads])[:, None]

    def shares(self, images: Indices, labels: Indices, plain: NDArray[np.float32], batch: int) -> Shares:
        """As `torch.nn.CrossEntropyLoss(weight=..)` means over a batch: the sum of weighted losses over the sum of the
        labels' weights; each loss times the weight of its image. `images` `[K, steps x B]` are places in the pool,
        `plain` the shares without weights, alike.
        """
        real = plain > 0
        own = np.take_along_axis(self.of_classes, labels, axis=1)

        def of_batch(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.repeat(values.reshape(len(values), -1, batch).sum(axis=2), batch, axis=1)

        whole = np.where(real, of_batch(own * real), 1.0)
        mass = (1 - self._smoothing) * own + self._smoothing * self.of_classes.mean(axis=1, keepdims=True)
        found: tuple[NDArray[np.floating], ...] = (
            np.where(self._weighted, real * mass / whole, plain),
            np.where(self._weighted, real / whole, plain),
            np.where(self._weighted, of_batch(real.astype(np.float64)) / whole, 1.0),
        )
        if self._images is not None and self._scales is not None:
            counts = self._images[images] * np.take_along_axis(self._scales, labels, axis=1)
            found = tuple(one * counts for one in found)
        return Shares(*(one.astype(np.float32) for one in found))
