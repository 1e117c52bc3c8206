"""Linear CKA: how alike two feature maps of the same images are, whatever their rotation and scale; no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

FEWEST_ALIGNED = 4  # images: of fewer the debiased estimate does not exist
NOTHING = 1e-5  # of a Gram matrix's norm: what is left of it below this share is rounding


def unit_gram(features: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """What CKA needs of features `[N, F]`: the pairs of images `[N (N - 1) / 2]`, a vector of length 1.

    The upper triangle of the Gram matrix, U-centred (Székely and Rizzo 2014) so that what two such vectors have in
    common is the unbiased HSIC (Song et al. 2012, equation 5) of their feature maps, less its scale. None where no
    direction tells the images apart: all are the same, or each is as far from every other. Time as N^2 F; memory N^2
    float64, twice.
    """
    count = len(features)
    assert count >= FEWEST_ALIGNED
    x = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)  # changes nothing but rounding
    largest = np.abs(x).max(initial=0)
    if largest == 0:
        return None
    x /= largest
    gram = (x @ x.T).astype(np.float64)
    np.fill_diagonal(gram, 0)
    whole = np.linalg.norm(gram)
    sums = gram.sum(axis=1) / (count - 2)
    gram -= sums[:, None]
    gram -= sums
    gram += sums.sum() / (count - 1)
    pairs = squareform(gram, checks=False)
    norm = np.linalg.norm(pairs)
    if norm <= NOTHING * whole:
        return None
    unit: NDArray[np.float32] = (pairs / norm).astype(np.float32)
    return unit


def linear_cka(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Debiased linear CKA of the features `[N, F]` and `[N, G]` of the same N images: 1 for features that are equal but
    for rotation, scale and offset, about 0 for independent ones, when it can be a little below 0.

    Linear CKA (Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019) with the unbiased
    HSIC, as Nguyen, Raghu and Kornblith (ICLR 2021) estimate it. With fewer images than features the plain estimate is
    near 1 even for independent features; this one is not. None where either has nothing to compare.
    """
    assert len(one) == len(other)
    mine, theirs = unit_gram(one), unit_gram(other)
    return None if mine is None or theirs is None else float(mine @ theirs)
