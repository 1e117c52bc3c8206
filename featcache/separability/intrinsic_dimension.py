"""How many coordinates it would take to tell a feature map's images apart, from the two nearest neighbours of each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

KEPT = 0.9  # of the ratios, the smallest: the rest are from the sparse rim, where the model fails (Facco et al., p. 3)


def intrinsic_dimension(features: NDArray[np.float32]) -> float | None:
    """Dimension of the manifold that features `[N, F]` lie near: above 0, at most about F.

    TwoNN (Facco, d'Errico, Rodriguez and Laio, "Estimating the intrinsic dimension of datasets by a minimal
    neighborhood information", Scientific Reports 2017): where density hardly changes between an image and its second
    neighbour, the ratio mu of the distances to the second and the first neighbour has the distribution
    1 - mu^-d, whatever the density. d is the slope, through the origin, of -log(1 - share of the images with a smaller
    mu) against log mu. It knows no labels, and neither direction is better by itself. Few images see
    less than a large dimension: of 2,000 drawn uniformly in 9 dimensions it makes 8. Scale, rotation and order do not
    matter; identical rows count once. Frames of one video are nearer than the manifold is dense, and make it smaller.

    None of fewer than 3 different rows, and where every image has its two nearest neighbours at the same distance.
    Time as N^2 F.
    """
    assert len(features) > 0
    rows = np.unique(features.astype(np.float64), axis=0)
    if len(rows) < 3:
        return None
    kept = np.sort(_log_ratios(rows))[: int(KEPT * len(rows))]
    squares = float(kept @ kept)
    if squares == 0:
        return None
    share = np.arange(1, len(kept) + 1) / len(rows)
    return float(kept @ -np.log1p(-share) / squares)


def _log_ratios(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the distance to the second nearest neighbour over that to the first `[N]`, of different rows `[N, F]`."""
    centred = rows - rows.mean(axis=0)
    near = NearestNeighbors(n_neighbors=min(4, len(rows)), algorithm="brute").fit(centred)
    others = near.kneighbors(centred, return_distance=False)
    every = np.arange(len(rows))[:, None]
    # those distances are differences of squares: of near rows only rounding would be left
    exact = np.stack([np.linalg.norm(rows - rows[column], axis=1) for column in others.T], axis=1)
    exact[others == every] = np.inf
    nearest = np.sort(exact, axis=1)
    found: NDArray[np.float64] = np.log(nearest[:, 1] / nearest[:, 0])
    return found
