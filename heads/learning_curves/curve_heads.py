"""Which heads a curve trains, and the pool of features on which all of them train in stacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.options import TrainingOptions
from heads.learning_curves.flipped_labels import flip_labels
from heads.training import Features, Fold, Rows

# An epoch of few images goes over them again until it has about so many, or as many as all training images are: with
# one pass an epoch, a head on 4 images would make 50 steps where one on all makes thousands (docs/curves.md).
EPOCH_IMAGES = 128

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CurveHead:
    """One head of a curve: its size or share of wrong labels, its draw, its seed."""

    size: int  # place in the sizes
    draw: int
    seed: int
    noise: float = 0.0  # share of wrong labels; then the size is the last

    @property
    def key(self) -> tuple[int, float]:
        """What heads share that make one point of a figure."""
        return self.size, self.noise


@dataclass(frozen=True)
class RepeatedRows:
    """Rows of a pool in which images stand more than once, each time under another label."""

    rows: Rows
    image: Indices  # of each place of the pool the image in `rows`

    @property
    def width(self) -> int:
        """F."""
        return self.rows.width

    def read(self, images: Indices) -> NDArray[np.float32]:
        """Those of the images that stand in these places."""
        return self.rows.read(self.image[images])


def seed_of(training: TrainingOptions, draw: int, place: int) -> int:
    """The seed of a draw's head: the first draw has those of the options, each further one the next as many."""
    seeds = training.seed_list
    return (seeds[place] + draw * (max(seeds) - min(seeds) + 1)) % 2**31


def curve_heads(training: TrainingOptions, sizes: int, draws: int, noise: Sequence[float]) -> list[CurveHead]:
    """Every head: each draw and seed of each size; of the last size each share of wrong labels too."""
    points = [*((size, 0.0) for size in range(sizes)), *((sizes - 1, share) for share in noise)]
    seeds = range(len(training.seed_list))
    return [
        CurveHead(size, draw, seed_of(training, draw, place), share)
        for size, share in points
        for draw in range(draws)
        for place in seeds
    ]


def curve_features(features: Features, draws: Sequence[Sequence[Indices]], noise: Sequence[float]) -> Features:
    """The features of train against val as a pool with a fold for each draw and size, then for each draw and share of
    wrong labels (`fold_of`). `draws[d][s]` are places among the training images."""
    (whole,) = features.folds
    train, val = whole.train, whole.val
    folds = [Fold(passes(train[subset], len(train)), val) for subsets in draws for subset in subsets]
    image, labels = [np.arange(len(features.labels))], [features.labels]
    count = len(features.labels)
    for draw in range(len(draws)):
        for share in noise:
            flipped = flip_labels(features.labels[train], share, draw)
            wrong = np.flatnonzero(flipped != features.labels[train])
            seen = train.copy()
            seen[wrong] = count + np.arange(len(wrong))  # in the same place of the order, under the other label
            folds.append(Fold(seen, val))
            image.append(train[wrong])
            labels.append(flipped[wrong])
            count += len(wrong)
    places = np.concatenate(image)
    return replace(
        features,
        rows=RepeatedRows(features.rows, places),
        labels=np.concatenate(labels),
        views=features.views[places],
        weights=None if features.weights is None else features.weights[places],
        folds=tuple(folds),
    )


def passes(subset: Indices, whole: int) -> Indices:
    """The images of an epoch on a subset of `whole` training images: whole passes over it, at least one."""
    return np.tile(subset, max(1, round(min(whole, EPOCH_IMAGES) / len(subset))))


def fold_of(head: CurveHead, sizes: int, draws: int, noise: Sequence[float]) -> int:
    """The fold of `curve_features` that a head trains on."""
    if head.noise:
        return draws * sizes + head.draw * len(noise) + list(noise).index(head.noise)
    return head.draw * sizes + head.size
