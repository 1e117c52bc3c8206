"""Measures of separability against plain loops and singular values; the ranges that they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from featcache.separability import LabelledFeatures, centroid_accuracy, knn_accuracy, logme, measure

QUICK = settings(deadline=None, max_examples=30, derandomize=True)

Ints = NDArray[np.int64]
Case = tuple[NDArray[np.float32], Ints, Ints]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Features around class means, labels of 2 to 5 classes, and groups of up to 4 images across the classes."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, width, classes = draw(st.integers(8, 40)), draw(st.sampled_from([3, 30])), draw(st.integers(2, 5))
    labels = np.arange(n) % classes
    x = rng.normal(size=(classes, width))[labels] * draw(st.sampled_from([0.3, 1.0])) + rng.normal(size=(n, width))
    return x.astype(np.float32), labels, rng.integers(0, n // draw(st.integers(1, 4)) + 2, n)


def known(value: float | None) -> float:
    assert value is not None
    return value


@QUICK
@given(cases())
def test_neighbours_are_those_of_a_loop_over_images(case: Case) -> None:
    x, labels, groups = case
    unit = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    right = 0
    for i in range(len(x)):
        others = [j for j in range(len(x)) if groups[j] != groups[i]]
        nearest = sorted(others, key=lambda j: -unit[i] @ unit[j])[:5]
        votes = {c: [unit[i] @ unit[j] for j in nearest if labels[j] == c] for c in {labels[j] for j in nearest}}
        right += max(votes, key=lambda c: (len(votes[c]), sum(votes[c]))) == labels[i]
    assert known(knn_accuracy(x, labels, groups=groups)) == pytest.approx(right / len(x))


@QUICK
@given(cases())
def test_centroids_are_those_of_a_loop_over_images(case: Case) -> None:
    x, labels, groups = case
    wide, right = x.astype(np.float64), 0
    for i in range(len(x)):
        distances = {}
        for c in np.unique(labels):
            of_class = (labels == c) & (groups != groups[i])
            if of_class.any():
                distances[c] = np.linalg.norm(wide[i] - wide[of_class].mean(axis=0))
        right += min(distances, key=lambda c: distances[c]) == labels[i]
    assert known(centroid_accuracy(x, labels, groups=groups)) == pytest.approx(right / len(x))


@pytest.mark.parametrize("shape", [(60, 20), (20, 60), (200, 40)])
@pytest.mark.parametrize(("offset", "decay"), [(0.0, 0.0), (30.0, 1.0), (1000.0, 0.0), (0.0, 4.0)])
def test_logme_of_ill_conditioned_features_by_singular_values(
    shape: tuple[int, int], offset: float, decay: float
) -> None:
    rng, labels = np.random.default_rng(0), np.arange(shape[0]) % 3
    x = rng.normal(size=(3, shape[1]))[labels] + rng.normal(size=shape)
    x = (x * np.arange(1, shape[1] + 1) ** -decay + offset).astype(np.float32)  # directions of very unlike spread
    u, singular, _ = np.linalg.svd(x.astype(np.float64), full_matrices=False)

    def evidence(y: NDArray[np.float64], log_t: float) -> float:
        """log N(y | 0, (I + X X^T / t) / beta) at the best beta."""
        along = u.T @ y
        shrunk = 1 / (1 + singular**2 / 10**log_t)
        beta = len(y) / (((shrunk * along) ** 2 / shrunk).sum() + ((y - u @ along) ** 2).sum())
        spread = np.log1p(singular**2 / 10**log_t).sum()
        return float((len(y) * (np.log(beta / (2 * np.pi)) - 1) - spread) / 2)

    best = []
    for c in range(3):
        y = (labels == c).astype(np.float64)
        start = max(np.arange(-13.0, 12.0, 0.25), key=lambda t, y=y: evidence(y, t))
        found = minimize_scalar(lambda t, y=y: -evidence(y, t), bounds=(start - 0.25, start + 0.25), method="bounded")
        best.append(-found.fun / len(y))
    assert logme(x, labels) == pytest.approx(np.mean(best), abs=1e-4)


@QUICK
@given(cases(), st.sampled_from([1e-3, 1.0, 1e4]), st.sampled_from([0.0, 50.0]))
def test_every_measure_stays_in_its_range(case: Case, scale: float, offset: float) -> None:
    x, labels, groups = case
    labelled = LabelledFeatures(((x + offset) * scale).astype(np.float32), labels, groups)
    found = measure(labelled.features, labels, groups=groups)
    classes, (n, width) = len(np.unique(labels)), x.shape
    for accuracy in (found["linear_probe"], found["knn_accuracy"], found["centroid_accuracy"]):
        assert 0 <= known(accuracy) <= 1
        assert known(accuracy) * n == pytest.approx(round(known(accuracy) * n))  # a share of whole images
    assert labelled.probe_right is not None
    assert labelled.probe_right.shape == (n,)
    assert -1 <= known(found["silhouette"]) <= 1
    assert 0 <= known(found["h_score"]) <= classes - 1
    assert 0 <= known(found["fisher_ratio"]) <= width / 1e-3
    assert 1 <= known(found["effective_rank"]) <= min(n - 1, width) + 1e-6
    assert np.isfinite(known(found["logme"]))
    assert -1 <= known(found["parc"]) <= 1
    assert known(found["gbc"]) >= -np.log(classes * (classes - 1))  # where all classes are the same
    assert known(found["intrinsic_dimension"]) > 0
