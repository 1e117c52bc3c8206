"""Random draws of a head from (seed, epoch, block): the order of images, the views, the dropout masks.

It follows from (seed, epoch, block) alone, on every device: heads with one seed meet the same chances, so their
hyperparameters are compared on equal terms (common random numbers), and no head depends on its neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 1 << 16  # of a dropout draw: probabilities are rounded to multiples of 1 / 65,536


class Draws:
    """The streams of one seed for one block of one epoch."""

    def __init__(self, seed: int, epoch: int, block: int = 0) -> None:
        self._order = np.random.Generator(_bits(seed, epoch, block, 0))
        self._dropout = _bits(seed, epoch, block, 1)

    def order(self, n: int) -> NDArray[np.int64]:
        """A random order of `n` images."""
        return self._order.permutation(n)

    def balanced(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """A random order of as many places as there are `labels`, drawn with replacement: equally many of each class
        that is there, the remainder by chance."""
        wanted = np.resize(self._order.permutation(np.unique(labels)), len(labels))
        drawn = np.empty(len(labels), np.int64)
        for c in np.unique(labels):
            drawn[wanted == c] = self._order.choice(np.flatnonzero(labels == c), size=int((wanted == c).sum()))
        return drawn[self._order.permutation(len(labels))]

    def views(self, n: int, views: int) -> NDArray[np.int64]:
        """Which view to take at each of the `n` places of the order."""
        return self._order.integers(views, size=n)

    def dropout(self, steps: int, units: int, batch: int) -> NDArray[np.int16]:
        """Uniform draws for the next steps, int16 `[steps, units, batch]`: a unit is dropped where its draw is below
        `threshold(p)`."""
        words = -(-units * batch // 4)  # of 64 bits: a step takes whole ones, however many steps are drawn at once
        raw = self._dropout.random_raw(steps * words).view(np.int16)
        return raw.reshape(steps, words * 4)[:, : units * batch].reshape(steps, units, batch)


def threshold(p: float) -> int:
    """The draw below which a unit is dropped with probability `p`."""
    return _levels(p) - LEVELS // 2


def scale(p: float) -> float:
    """What a unit that stays is multiplied by, so that the expectation stays too."""
    return LEVELS / (LEVELS - _levels(p))


def _levels(p: float) -> int:
    """Of LEVELS draws, how many drop a unit: never all."""
    return min(round(p * LEVELS), LEVELS - 1)


def _bits(*key: int) -> np.random.SFC64:
    return np.random.SFC64(np.random.SeedSequence(key))
