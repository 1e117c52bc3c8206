"""GBC: how little the classes overlap, each seen as a Gaussian."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from featcache.separability.spectrum import Matrix, gram_eigen

DIRECTIONS = 64  # principal components that are looked at (Pandy et al., section 4)
LEAST = 1e-4  # variance of a class along one of them, as a share of that of all images: of fewer images it is 0


def gbc(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Nats by which the classes' overlap falls short of 1, larger is better; below 0 with many classes that overlap.

    Gaussian Bhattacharyya coefficient (Pandy et al., "Transferability Estimation using Bhattacharyya Class
    Separability", CVPR 2022): features `[N, F]` along their first DIRECTIONS principal components, in each class of
    labels `[N]` a Gaussian with a diagonal covariance; the Bhattacharyya coefficients of all ordered pairs of classes
    are added. The paper takes minus the sum; this is minus its logarithm, which gives the same order and tells feature
    maps apart where the sum is too small for a float. Common scale and rotation do not matter.

    A class of one image is given the variance within the others. None for a single class, where all images have the
    same features, and where no class has two images. Time as N F min(N, F).
    """
    assert len(features) == len(labels) > 0
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    x = _principal(features)
    if len(counts) == 1 or counts.max() == 1 or not x.size:
        return None
    one_hot = np.eye(len(counts))[classes]
    means = one_hot.T @ x / counts[:, None]
    squares = one_hot.T @ (x - means[classes]) ** 2  # of the deviations in each class [K, D]
    variances = squares / counts[:, None]
    variances[counts == 1] = squares.sum(axis=0) / counts[counts > 1].sum()
    variances = np.maximum(variances, LEAST * x.var(axis=0))
    one, other = np.triu_indices(len(counts), 1)
    between = (variances[one] + variances[other]) / 2
    logs = np.log(between) - (np.log(variances[one]) + np.log(variances[other])) / 2
    distances = ((means[one] - means[other]) ** 2 / between).sum(axis=1) / 8 + logs.sum(axis=1) / 2
    return -float(logsumexp(-distances) + np.log(2))


def _principal(features: NDArray[np.float32]) -> Matrix:
    """Centred features along their first principal components `[N, D]`; D is 0 where all images have the same."""
    x = features - features[0].astype(np.float64)
    x -= x.mean(axis=0)
    energies, vectors, dual = gram_eigen(x)
    first = slice(-1, -DIRECTIONS - 1, -1)
    found: Matrix = (vectors * np.sqrt(energies))[:, first] if dual else x @ vectors[:, first]
    return found
