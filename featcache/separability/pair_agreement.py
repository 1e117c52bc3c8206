"""PARC: whether images of a class have features that are alike, over all pairs of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from featcache.separability.grouping import Ints, together


def parc(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> float | None:
    """Rank correlation, -1 to 1, of distance and difference in class over all pairs of images; larger is better.

    PARC (Bolya, Mittapalli and Hoffman, "Scalable Diverse Model Selection for Accessible Transfer Learning", NeurIPS
    2021): Spearman's correlation of 1 - Pearson's correlation of two images' standardised features `[N, F]` with the
    same of their one-hot labels `[N]`, which has two values: of one class, or of two. All features are taken, not 32
    principal components as in the paper: Pearson's correlation of those depends on their signs, which are arbitrary.
    No feature's scale matters, but their rotation does. Its ceiling is below 1 and depends on the classes' sizes.

    Identical rows, and images of the same one of `groups` `[N]`, are no pairs. None where no pairs of both kinds are
    left, as for a single class; 0 where all distances are equal. Time as N^2 F and N^2 log N, memory 20 N^2 bytes.
    """
    assert len(features) == len(labels) > 0
    units = together(features, groups)
    pairs = np.triu(units[:, None] != units, 1)
    differ = (labels[:, None] != labels)[pairs]
    if differ.all() or not differ.any():
        return None
    x = _rows(features)
    ranks = rankdata((x @ x.T)[pairs])  # of likeness: the smallest is the largest distance
    spread = ranks.std()
    if spread == 0:
        return 0.0
    share = differ.mean()
    gap = ranks[~differ].mean() - ranks[differ].mean()
    return float(gap * np.sqrt(share * (1 - share)) / spread)


def _rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standardised features `[N, F]`, each row less its mean and of length 1: their products are correlations."""
    x = features - features[0].astype(np.float64)  # with it a constant feature becomes exactly 0
    x -= x.mean(axis=0)
    deviation = x.std(axis=0)
    x /= np.where(deviation > 0, deviation, 1)
    x -= x.mean(axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    found: NDArray[np.float32] = (x / np.where(length > 0, length, 1)).astype(np.float32)
    return found
