"""Suspect labels: what other images say of an image's class, judged by confident learning."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from featcache.separability import Ints, deal

FOLDS = 5
SEED = 0  # of the folds
FEWEST = (
    FOLDS  # images of a class by which a label can be judged: with fewer, some folds leave too few to learn it from
)
COMPONENTS = 128  # principal components that the classifier sees: enough for the classes, and seconds, not minutes
STRENGTH = 0.1  # of the classifier's fit against its penalty (C)
ITERATIONS = 500
TOLERANCE = 1e-3

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """What confident learning says of N labels."""

    order: Ints  # [N], the most suspect first: flagged ones, then by normalised margin
    flagged: NDArray[np.bool_]  # [N], off the diagonal of the confident joint
    suggested: Ints  # [N], the class that speaks most against the label


def probabilities(features: Iterable[NDArray[np.float32]], labels: Ints, groups: Ints) -> Matrix | None:
    """Out-of-fold class probabilities `[N, K]` averaged over the features `[N, F]` of several backbones.

    Logistic regression on the leading principal components of standardised features, in stratified folds; images of
    the same one of `groups` `[N]` share a fold, so that no copy vouches for its own label. None where all images are of
    one class or one group.
    """
    if len(np.unique(labels)) < 2 or len(np.unique(groups)) < 2:
        return None
    fold = deal(labels, groups, FOLDS, SEED)
    found = [_out_of_fold(reduced(one), labels, fold) for one in features]
    return np.mean(found, axis=0) if found else None


def reduced(features: NDArray[np.float32]) -> Matrix:
    """Standardised features `[N, F]` on their leading principal components `[N, <= 128]`, of mean square 1 in all.

    Labels have no part in it, so it may see every fold.
    """
    x = features - features.mean(axis=0, dtype=np.float64)
    deviation = x.std(axis=0)
    x /= np.where(deviation > 0, deviation, np.inf)
    x = x.astype(np.float32)
    wide = x.shape[1] > x.shape[0]
    values, vectors = np.linalg.eigh((x @ x.T if wide else x.T @ x).astype(np.float64))
    keep = slice(-1, -1 - min(COMPONENTS, len(values)), -1)
    values, vectors = values[keep], vectors[:, keep]
    scores = vectors * np.sqrt(np.maximum(values, 0)) if wide else x @ vectors
    power = float(np.sqrt((scores**2).mean())) or 1.0
    result: Matrix = scores / power
    return result


def _out_of_fold(x: Matrix, labels: Ints, fold: Ints) -> Matrix:
    found = np.zeros((len(x), int(labels.max()) + 1))
    for f in range(int(fold.max()) + 1):
        out = fold == f
        known = np.unique(labels[~out])
        if len(known) == 1:  # what one class alone says is certain and worth nothing
            found[out, known[0]] = 1
        elif len(known):
            model: Any = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS, tol=TOLERANCE)
            with warnings.catch_warnings():  # a fit stopped short is as good for a ranking
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x[~out], labels[~out])
            found[np.ix_(out, known)] = model.predict_proba(x[out])
    return found


def confident_learning(p: Matrix, labels: Ints) -> LabelIssues:
    """Which labels `[N]` the probabilities `p` `[N, K]` contradict.

    Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", section 3: the
    threshold of a class is its mean probability over the images that carry its label; an image counts in the confident
    joint as the likeliest of the classes whose thresholds it reaches; those off the diagonal are flagged and ranked by
    normalised margin, the label's probability less the largest other. As in the authors' cleanlab, what is less likely
    than the label does not speak against it: a class of one or two images has a threshold near 0, which all reach.
    """
    every, classes = np.arange(len(labels)), p.shape[1]
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=p[every, labels], minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where((p >= thresholds) & (p >= p[every, labels][:, None]), p, -1.0)
    confident = reached.argmax(axis=1)
    flagged = (reached.max(axis=1) >= 0) & (confident != labels)
    others = p.copy()
    others[every, labels] = -1
    suggested = np.where(flagged, confident, others.argmax(axis=1))
    margin = p[every, labels] - others.max(axis=1)
    return LabelIssues(np.lexsort((margin, ~flagged)), flagged, suggested)


def of_known_classes(issues: LabelIssues, labels: Ints) -> LabelIssues:
    """The same, with no label `[N]` flagged whose class has fewer than FEWEST images.

    Of a class of three, two are left to learn it from: what the classifier says of the third is that it never saw one.
    """
    flagged = issues.flagged & (np.bincount(labels)[labels] >= FEWEST)
    order = issues.order[np.argsort(~flagged[issues.order], kind="stable")]
    return LabelIssues(order, flagged, issues.suggested)
