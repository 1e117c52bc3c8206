"""Accuracies without the image itself, of its nearest neighbours and class means; and how compact classes are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcache.separability.grouping import Ints, together

BLOCK = 1024  # images whose similarities to all others are in memory at once: 4 BLOCK N bytes
ROUNDING = 1e-12  # cosine distance: float32 features cannot tell less from 0


def knn_accuracy(
    features: NDArray[np.float32], labels: Ints, *, k: int = 5, groups: Ints | None = None
) -> float | None:
    """Share of images, 0 to 1, whose `k` nearest other images vote for their class; larger is better.

    The nearest-neighbour rule (Cover and Hart, "Nearest neighbor pattern classification", IEEE Trans. Inf. Theory,
    1967), leave-one-out on features `[N, F]` of labels `[N]`, by cosine similarity. Most votes win; among classes with
    equally many, the one whose votes are more similar in sum. The features' scale and rotation do not matter.

    Identical rows, and images of the same one of `groups` `[N]`, are no neighbours of each other. The only image of a
    class is always wrong. None for a single class, and where all images are one group.
    """
    assert len(features) == len(labels) > 0 and k > 0
    _, classes = np.unique(labels, return_inverse=True)
    units = together(features, groups)
    if classes.max() == 0 or units.max() == units.min():
        return None
    unit_length = _normalised(features).astype(np.float32)
    k = min(k, len(labels) - 1)
    right = 0
    for start in range(0, len(labels), BLOCK):
        rows = slice(start, start + BLOCK)
        similar = unit_length[rows] @ unit_length.T
        similar[units[rows, None] == units] = -np.inf
        right += int((_vote(similar, classes, k) == classes[rows]).sum())
    return right / len(labels)


def _vote(similar: NDArray[np.float32], classes: Ints, k: int) -> Ints:
    """The class `[B]` for which the `k` most similar images vote; `similar` `[B, N]` is -inf for those without one."""
    nearest = np.argpartition(similar, -k, axis=1)[:, -k:]
    close = np.take_along_axis(similar, nearest, axis=1).astype(np.float64)
    # k similarities sum up to at most k, so that this share of them decides between equals only
    weights = np.where(np.isfinite(close), 1 + close / (2 * k + 1), 0)
    votes = np.zeros((len(similar), classes.max() + 1))
    np.add.at(votes, (np.arange(len(similar))[:, None], classes[nearest]), weights)
    winners: Ints = votes.argmax(axis=1)
    return winners


def centroid_accuracy(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> float | None:
    """Share of images, 0 to 1, that are nearer to the mean of their class than to any other; larger is better.

    The nearest class mean classifier (Mensink et al., "Distance-based image classification", TPAMI 2013), leave-one-out
    on features `[N, F]` of labels `[N]`, by Euclidean distance: the mean is that of the other images of
    the class. The features' common scale and their rotation do not matter.

    Identical rows, and images of the same one of `groups` `[N]`, are left out together. The only image of a class is
    always wrong. None for a single class, and where all images are one group.
    """
    assert len(features) == len(labels) > 0
    _, classes = np.unique(labels, return_inverse=True)
    units = together(features, groups)
    if classes.max() == 0 or units.max() == units.min():
        return None
    x = features - features.mean(axis=0, dtype=np.float64)
    sums, counts = _class_sums(x, classes), np.bincount(classes)
    means = sums / counts[:, None]
    distances = (x**2).sum(axis=1)[:, None] - 2 * x @ means.T + (means**2).sum(axis=1)
    order = np.argsort(units, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(units[order])) + 1):
        for own in np.unique(classes[members]):  # copies can have two labels
            out = members[classes[members] == own]
            left = counts[own] - len(out)
            mean = (sums[own] - x[out].sum(axis=0)) / max(left, 1)
            distances[members, own] = ((x[members] - mean) ** 2).sum(axis=1) if left else np.inf
    return float((distances.argmin(axis=1) == classes).mean())


def silhouette(features: NDArray[np.float32], labels: Ints) -> float | None:
    """Mean silhouette, -1 to 1, of features `[N, F]` for labels `[N]` by cosine distance; larger is better.

    Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis": (b - a) /
    max(a, b), with a and b the mean distances of an image to the others of its class and to the nearest other class. 0
    is no structure, below 0 most images are nearer to another class. The cosine since, as for the nearest neighbours,
    the length of an image's features says little of its class; it makes a mean distance that to a mean, which takes
    time as N F K and no sample of the images. The features' scale and rotation do not matter.

    The only image of a class counts 0, as do images without distance to either. None for a single class.
    """
    assert len(features) == len(labels) > 0
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.bincount(classes)
    if len(counts) == 1:
        return None
    x, every = _normalised(features), np.arange(len(labels))
    total = counts - x @ _class_sums(x, classes).T  # of the distances to all images of a class [N, K]
    total[every, classes] -= 1 - (x**2).sum(axis=1)  # to itself: 0, or 1 for an image whose features are all 0
    others = np.tile(counts, (len(labels), 1))
    others[every, classes] -= 1
    distances = total / np.maximum(others, 1)
    distances[distances < ROUNDING] = 0
    within = distances[every, classes]
    distances[every, classes] = np.inf
    nearest = distances.min(axis=1)
    larger = np.maximum(within, nearest)
    worth = (counts[classes] > 1) & (larger > 0)
    return float(np.where(worth, (nearest - within) / np.where(worth, larger, 1), 0).mean())


def _normalised(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of length 1 in float64; those that are all 0 stay."""
    x = features.astype(np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1)


def _class_sums(x: NDArray[np.float64], classes: Ints) -> NDArray[np.float64]:
    """Sum of the rows of each class `[K, F]`."""
    one_hot = np.eye(classes.max() + 1)[classes]
    sums: NDArray[np.float64] = one_hot.T @ x
    return sums
