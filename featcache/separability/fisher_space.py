"""SFDA: how surely Fisher's discriminant analysis knows the classes once each image is moved towards the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.special import softmax

from featcache.separability.grouping import Ints
from featcache.separability.spectrum import Matrix, gram_eigen

STRENGTH = 5.0  # a in the shrinkage exp(-a s), s the largest variance within the classes (Shao et al., section 4.1)
LEAST = 1e-10  # share of the mean variance that the covariance within the classes is shrunk by at least


def sfda(features: NDArray[np.float32], labels: Ints) -> float | None:
    """Mean probability, 0 to 1, of an image's own class in a self-challenging Fisher space; larger is better.

    SFDA (Shao et al., "Not All Models Are Equal: Predicting Model Transferability in a Self-challenging Fisher Space",
    ECCV 2022): linear discriminant analysis of features `[N, F]` for labels `[N]`, with the covariance within the
    classes shrunk towards a multiple of the identity by exp(-5 s), s its largest eigenvalue. Each image is then mixed
    with the mean of the other classes, with the more of it the less sure its own class is (ConfMix), and an analysis of
    these, equally shrunk, gives the probabilities. The paper takes features as they are: where their scale is large
    nothing is shrunk, and with fewer images than features every probability is 1. Here rows have a mean square of 1, so
    that the scale does not matter, nor does the rotation.

    An image speaks for itself: this is no accuracy on unseen images. None for a single class. Time as N F min(N, F).
    """
    assert len(features) == len(labels) > 0
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(counts) == 1:
        return None
    x = _span(features)
    width = features.shape[1]
    share = _shrinkage(x, classes, counts)
    own = np.arange(len(x)), classes
    means = _means(x, classes, counts)
    sure = softmax(_posteriors(x, classes, counts, share, width), axis=1)[own][:, None]  # softened once more
    others = (means.sum(axis=0) - means) / (len(counts) - 1)
    mixed = sure * x + (1 - sure) * others[classes]
    return float(_posteriors(mixed, classes, counts, share, width)[own].mean())


def _span(features: NDArray[np.float32]) -> Matrix:
    """Centred features, of a mean square of 1 before they were, in coordinates of their span `[N, R]`."""
    x = features.astype(np.float64)
    size = float(np.abs(x).max()) or 1.0
    x /= size
    x /= np.sqrt((x**2).sum() / len(x)) or 1.0
    x -= x[0].copy()
    x -= x.mean(axis=0)
    energies, vectors, dual = gram_eigen(x)
    found: Matrix = vectors * np.sqrt(energies) if dual else x @ vectors
    return found


def _means(x: Matrix, classes: Ints, counts: Ints) -> Matrix:
    means: Matrix = np.eye(len(counts))[classes].T @ x / counts[:, None]
    return means


def _within(x: Matrix, classes: Ints, counts: Ints) -> Matrix:
    """Covariance within the classes `[R, R]`."""
    apart = x - _means(x, classes, counts)[classes]
    covariance: Matrix = apart.T @ apart / len(x)
    return covariance


def _shrinkage(x: Matrix, classes: Ints, counts: Ints) -> float:
    within = _within(x, classes, counts)
    last = [len(within) - 1] * 2
    largest = float(eigh(within, eigvals_only=True, subset_by_index=last)[0]) if within.size else 0.0
    return max(float(np.exp(-STRENGTH * largest)), LEAST)


def _posteriors(x: Matrix, classes: Ints, counts: Ints, share: float, width: int) -> Matrix:
    """Probability of each class `[N, K]` by discriminant analysis of `[N, R]`, a span of `width` features."""
    within = _within(x, classes, counts)
    mean = float(np.trace(within)) / width
    within *= 1 - share
    within.flat[:: len(within) + 1] += share * mean if mean > 0 else 1.0
    means = _means(x, classes, counts)
    weights = np.linalg.solve(within, means.T)
    logits = x @ weights - (means * weights.T).sum(axis=1) / 2 + np.log(counts / len(x))
    found: Matrix = softmax(logits, axis=1)
    return found
