"""The nearest neighbours of every image by cosine distance, in blocks: they tell near-duplicates and outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.separability import Ints

BLOCK = 1024  # images whose distances to all others are in memory at once: 4 BLOCK N bytes
LEAST = 1e-7  # cosine distance: float32 features cannot tell less from 0

Matrix = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """For each of N images its M nearest others, the nearest first."""

    index: Ints  # [N, M]
    distance: Matrix  # [N, M], cosine distance: 1 less the cosine

    def closest(self, k: int, alive: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Distances `[N, k]` to the k nearest of the images that are `alive` `[N]`, as far as they are known."""
        there = np.argsort(~alive[self.index], axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(self.distance, there, axis=1).astype(np.float64)
        found = np.maximum.accumulate(found, axis=1)  # where too few are alive, the others stand in
        return np.maximum(found, LEAST)


def directions(features: Matrix) -> Matrix:
    """Rows `[N, F]` of length 1, less their common mean: squared distances between them are twice the cosine distances.

    Pooled features of a ReLU point nearly the same way; less the mean, float32 still tells them apart.
    """
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    x -= x.mean(axis=0)
    return x.astype(np.float32)


def nearest(rows: Matrix, count: int) -> Neighbours:
    """The `count` nearest others of each of the `directions` `[N, F]`; fewer where there are fewer images."""
    images = len(rows)
    count = min(count, images - 1)
    squares = np.einsum("nf,nf->n", rows, rows)
    index = np.empty((images, count), dtype=np.int64)
    distance = np.empty((images, count), dtype=np.float32)
    for start in range(0, images, BLOCK):
        block = slice(start, min(start + BLOCK, images))
        far = rows[block] @ rows.T
        far *= -1
        far += squares / 2  # what is missing to the distance is the same for all others of an image
        far[np.arange(len(far)), np.arange(block.start, block.stop)] = np.inf
        found = np.argpartition(far, count - 1, axis=1)[:, :count]
        close = np.take_along_axis(far, found, axis=1) + squares[block, None] / 2
        order = np.argsort(close, axis=1, kind="stable")
        index[block] = np.take_along_axis(found, order, axis=1)
        distance[block] = np.maximum(np.take_along_axis(close, order, axis=1), 0)
    return Neighbours(index, distance)


def between(rows: Matrix, first: Ints, second: Ints) -> NDArray[np.float64]:
    """Cosine distances `[P]` between the pairs `first` and `second` `[P]` of `directions` `[N, F]`, one by one."""
    found = np.empty(len(first))
    for start in range(0, len(first), BLOCK):
        pair = slice(start, start + BLOCK)
        apart = rows[first[pair]].astype(np.float64) - rows[second[pair]]
        found[pair] = (apart**2).sum(axis=1) / 2
    return found
