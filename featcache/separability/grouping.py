"""Images that must not be parted (copies, frames of a video), and folds of the probe that respect this."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def together(features: NDArray[np.float32], groups: Ints | None) -> Ints:
    """A number for each image `[N]`, the same for images that are never apart: identical rows, and those of a group.
    It is that of the first of them, whatever the features: folds that are dealt by it are those of every backbone.

    A copy of an image among its neighbours or in the training part would answer for it. Groups that share a row
    become one.
    """
    rows = np.ascontiguousarray(features + np.float32(0))  # -0 becomes 0, which has other bytes
    _, first, copies = np.unique(
        rows.view(np.dtype((np.void, rows.strides[0]))).ravel(), return_index=True, return_inverse=True
    )
    copies = first.astype(np.int64)[copies]  # a number that does not depend on the features' values
    if groups is None:
        return copies
    assert len(groups) == len(features)
    _, given = np.unique(groups, return_inverse=True)
    units, before = copies.astype(np.int64), None
    while before is None or (units != before).any():  # the smallest number spreads to all that are linked
        before = units
        for linked in (given, copies):
            units = _least(units, linked)
    return units


def _least(numbers: Ints, linked: Ints) -> Ints:
    """For each image `[N]` the smallest of `numbers` `[N]` among those with the same of `linked` `[N]`."""
    least = np.full(int(linked.max()) + 1, numbers.max())
    np.minimum.at(least, linked, numbers)
    found: Ints = least[linked]
    return found


def deal(classes: Ints, groups: Ints, most: int, seed: int) -> Ints:
    """The fold of each image `[N]`: stratified by `classes` `[N]` (0 to K - 1), each of `groups` `[N]` in one fold.

    Each group, the largest first, goes where its class has the fewest images. `most` folds, fewer where a class has
    fewer groups, but at least 2: the images of a class with one group are then tested without any of it in training.
    """
    _, first, number, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    per_class = np.bincount(classes[first])
    folds = int(np.clip(per_class[per_class > 0].min(), 2, most))
    order = np.random.default_rng(seed).permutation(len(sizes))
    held = np.zeros((folds, len(per_class)), dtype=np.int64)
    chosen = np.zeros(len(sizes), dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        own = classes[first[group]]  # the class of its first image: copies rarely have two labels
        chosen[group] = np.lexsort((held.sum(axis=1), held[:, own]))[0]
        held[chosen[group], own] += sizes[group]
    fold: Ints = chosen[number]
    return fold
