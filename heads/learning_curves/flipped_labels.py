"""Wrong labels on purpose: a share of the training images gets the label of another class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NOISE = (0.05, 0.1, 0.2)  # shares of the training labels; 0 is the curve's last size

Indices = NDArray[np.int64]


def flip_labels(labels: Indices, share: float, draw: int) -> Indices:
    """`labels` `[N]` with round(share x N) of them changed, each to one of the other classes that are there, all
    equally likely (symmetric noise, as in Patrini et al. 2017). Within a draw a larger share holds a smaller."""
    rng = np.random.default_rng([draw, len(labels)])
    order = rng.permutation(len(labels))
    there = np.unique(labels)
    if len(there) < 2:
        return labels.copy()
    step = rng.integers(1, len(there), size=len(labels))  # how far on in the list of classes, never round to itself
    other = there[(np.searchsorted(there, labels) + step) % len(there)]
    flipped = labels.copy()
    wrong = order[: round(share * len(labels))]
    flipped[wrong] = other[wrong]
    return flipped
