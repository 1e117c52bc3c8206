"""The linear probe: cross-validated accuracy of a linear classifier on cached features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcache.separability.grouping import Ints, deal, together
from featcache.separability.spectrum import shrinkage

FOLDS = 5
SEED = 0  # of the folds: the same images fall into the same folds, whatever the backbone
LEAST = 1e-6  # shrinkage: keeps the system solvable where Ledoit and Wolf see no noise

Matrix = NDArray[np.float64]


def linear_probe(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> float | None:
    """Share of images, 0 to 1, that a linear classifier gets right in 5 stratified folds; larger is better.

    Features `[N, F]` of labels `[N]`. Ridge regression of the one-hot labels on features that are standardised by the
    training part. The penalty takes no search: it makes the training part's covariance that of Ledoit and Wolf (2004,
    "A well-conditioned estimator for large-dimensional covariance matrices"). The figure to beat is the share of the
    largest class. It depends on no feature's scale, but on their rotation.

    Identical rows, and images of the same one of `groups` `[N]`, share a fold. Fewer folds (at least 2) where a class
    has fewer than 5 such groups; an image without others of its class in training counts as wrong. None for a single
    class, and where all images are one group. Memory: a few times the features in float64.
    """
    right = probe_right(features, labels, groups=groups)
    return None if right is None else float(right.mean())


def probe_right(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> NDArray[np.bool_] | None:
    """Which images `[N]` the classifier of `linear_probe` gets right, each in the fold that leaves it out.

    Two backbones on the same images compare image by image. None where `linear_probe` is.
    """
    assert len(features) == len(labels) > 0
    _, classes = np.unique(labels, return_inverse=True)
    units = together(features, groups)
    if classes.max() == 0 or units.max() == units.min():
        return None
    fold = deal(classes, units, FOLDS, SEED)
    right = np.zeros(len(labels), dtype=np.bool_)
    for test in (fold == f for f in range(int(fold.max()) + 1)):
        train, tested = _standardised(features[~test], features[test])
        scores = ridge(train, np.eye(classes.max() + 1)[classes[~test]], tested)
        right[test] = scores.argmax(axis=1) == classes[test]
    return right


def ridge(train: Matrix, targets: Matrix, test: Matrix) -> Matrix:
    """Scores `[T, K]` of `test` `[T, F]` by ridge regression of `targets` `[N, K]` on centred `train` `[N, F]`.

    Solves for the weights or, where there are fewer samples than features, for the samples' coefficients.
    """
    samples, width = train.shape
    dual = samples < width
    gram = train @ train.T if dual else train.T @ train
    squares = (train**2).sum(axis=1)
    mean = float(squares.mean()) / width or 1.0  # of the covariance's eigenvalues; any will do where all are 0
    share = shrinkage(float((gram**2).sum()) / samples**2, squares, width)
    share = min(max(share, LEAST), 1 - LEAST)
    gram.flat[:: len(gram) + 1] += samples * mean * share / (1 - share)
    prior = targets.mean(axis=0)
    rest = targets - prior
    if dual:
        fitted: Matrix = test @ (train.T @ np.linalg.solve(gram, rest))
    else:
        fitted = test @ np.linalg.solve(gram, train.T @ rest)
    fitted += prior
    return fitted


def _standardised(train: NDArray[np.float32], test: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
    """Both in float64, less the mean and over the standard deviation of `train`, where it has one."""
    origin = train[0].astype(np.float64)  # with it a constant feature becomes exactly 0
    wide, tested = train - origin, test - origin
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation[deviation == 0] = np.inf  # what did not vary in training says nothing
    return (wide - mean) / deviation, (tested - mean) / deviation
