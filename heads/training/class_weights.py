"""What an image of each class counts in the loss: weights by name, or such that all classes count alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction import Indices
from featcache.options import TrainingOptions, require_class_names
from heads.training.features import Features
from heads.training.head_spec import HeadSpec


def class_weights(training: TrainingOptions, classes: Sequence[str], train: Indices) -> NDArray[np.float64] | None:
    """The weight of each class `[C]` where training images have the labels `train`; None where all weigh the same.

    "balanced" is N / (classes x images of the class), as scikit-learn has it (King and Zeng 2001); a class that is not
    named weighs 1. Raises OptionsError for a name that no class has.
    """
    asked = training.class_weights
    if asked is None:
        return None
    require_class_names(asked, classes)
    if asked == "balanced":
        images = np.bincount(train, minlength=len(classes))
        there = images > 0
        return np.where(there, len(train) / (there.sum() * np.maximum(images, 1)), 1.0)
    return np.array([asked.get(c, 1.0) for c in classes], np.float64)


@dataclass(frozen=True)
class Shares:
    """What each image counts, `[K, steps x B]`; 0 for what only fills a batch up."""

    softmax: NDArray[np.float32]  # in the pull towards its softmax: its share of the batch's mean
    target: NDArray[np.float32]  # in the pull towards its target, whose classes are weighted already
    loss: NDArray[np.float32]  # its weighted loss in the epoch's sum


class StackWeights:
    """The class weights of the heads of a stack; heads without weights are as they would be among their like."""

    def __init__(self, features: Features, heads: Sequence[HeadSpec]) -> None:
        names = features.class_names or tuple(map(str, range(features.classes)))
        found = [class_weights(h.training, names, features.labels[features.folds[h.fold].train]) for h in heads]
        self._weighted = np.array([one is not None for one in found])[:, None]
        self.of_classes = np.stack([np.ones(len(names)) if one is None else one for one in found])  # [K, C]
        self._smoothing = np.array([h.training.label_smoothing for h in heads])[:, None]

    def shares(self, labels: Indices, plain: NDArray[np.float32], batch: int) -> Shares:
        """As `torch.nn.CrossEntropyLoss(weight=..)` means over a batch: the sum of weighted losses over the sum of the
        labels' weights. `plain` are the shares without weights, `[K, steps x B]` as `labels`."""
        real = plain > 0
        own = np.take_along_axis(self.of_classes, labels, axis=1)

        def of_batch(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.repeat(values.reshape(len(values), -1, batch).sum(axis=2), batch, axis=1)

        whole = np.where(real, of_batch(own * real), 1.0)
        mass = (1 - self._smoothing) * own + self._smoothing * self.of_classes.mean(axis=1, keepdims=True)
        found = (
            np.where(self._weighted, real * mass / whole, plain),
            np.where(self._weighted, real / whole, plain),
            np.where(self._weighted, of_batch(real.astype(np.float64)) / whole, 1.0),
        )
        return Shares(*(one.astype(np.float32) for one in found))
