"""Outliers: images far from all others, by the distance to their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.audit.cosine_neighbours import Neighbours

K = 10  # neighbours
FENCE = 3.5  # robust z: Iglewicz and Hoaglin 1993, "How to Detect and Handle Outliers"
NORMAL = 0.6745  # the median absolute deviation of a standard normal variable


def outlier_scores(seen: Sequence[Neighbours]) -> NDArray[np.float64]:
    """How far each image `[N]` is from the others: larger is farther, above `FENCE` is an outlier.

    The mean cosine distance to the `K` nearest others (after Ramaswamy, Rastogi and Shim 2000, "Efficient Algorithms
    for Mining Outliers from Large Data Sets"; the mean of Angiulli and Pizzuti 2002, which one copy does not fool).
    Its root, which is a length, as a robust z: less the median, over the median absolute deviation, averaged over
    backbones.
    """
    scores = []
    for one in seen:
        far = np.sqrt(one.distance[:, :K].mean(axis=1, dtype=np.float64))
        spread = float(np.median(np.abs(far - np.median(far))))
        scores.append(NORMAL * (far - np.median(far)) / spread if spread > 0 else np.zeros(len(far)))
    mean: NDArray[np.float64] = np.mean(scores, axis=0)
    return mean
