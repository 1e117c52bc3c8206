"""What a head gives on val at its best epoch, each image judged at the epoch that is best without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PARTS = 10  # that the images are cut into, as in featcache/statistics/selection.py


def held_out_values(
    by: NDArray[np.generic], values: NDArray[np.generic], units: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`values` `[E, V]` of each image `[V]` at the epoch that is best by `by` `[E, V]`, larger better, on the images of
    other parts: the best of 50 epochs flatters the images that it was chosen on, most where they are few.

    Images of one unit (`units` `[V]`) share a part; ties go to the earlier epoch. The cut is the same for equal units.
    """
    names, place = np.unique(units, return_inverse=True)
    parts = min(PARTS, len(names))
    part = (np.random.default_rng(len(names)).permutation(len(names)) % parts)[place]
    sums = by.sum(axis=1, dtype=np.float64)
    found = np.empty(values.shape[1])
    for one in range(parts):
        own = part == one
        seen = sums - by[:, own].sum(axis=1, dtype=np.float64) if parts > 1 else sums
        found[own] = values[int(np.round(seen, 6).argmax())][own]
    return found
