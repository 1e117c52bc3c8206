"""LogME: against the marginal likelihood written out, and what it promises of scale, rotation and separation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from featcache.separability import logme

SHAPES = [(24, 5), (12, 30), (20, 20)]  # more samples than features, fewer, as many


def clusters(
    samples: int, width: int, spread: float = 1.0, classes: int = 3, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features around one centre for each class, whose coordinates differ by `spread`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % classes
    centres = rng.normal(size=(classes, width)) * spread
    return (centres[labels] + rng.normal(size=(samples, width))).astype(np.float32), labels


def marginal(x: NDArray[np.float64], y: NDArray[np.float64], alpha: float, beta: float) -> float:
    """log N(y | 0, I / beta + X X^T / alpha)."""
    covariance = np.eye(len(y)) / beta + x @ x.T / alpha
    return float(multivariate_normal(np.zeros(len(y)), covariance, allow_singular=True).logpdf(y))


def largest_marginal(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """At the best alpha and beta: those of a grid that is fine enough to see every peak, climbed on from there."""
    grid = [(a, b) for a in np.arange(-3.0, 7.0, 0.5) for b in np.arange(-1.0, 7.0, 0.5)]
    best = max(grid, key=lambda p: marginal(x, y, 10 ** p[0], 10 ** p[1]))
    return -float(minimize(lambda p: -marginal(x, y, 10 ** p[0], 10 ** p[1]), best, method="Nelder-Mead").fun)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_it_is_the_largest_marginal_likelihood(shape: tuple[int, int], spread: float) -> None:
    x, labels = clusters(*shape, spread)
    wide = x.astype(np.float64)
    expected = [largest_marginal(wide, (labels == c).astype(np.float64)) / len(x) for c in range(3)]
    assert logme(x, labels) == pytest.approx(np.mean(expected), abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_does_not_matter(shape: tuple[int, int], scale: float) -> None:
    x, labels = clusters(*shape)
    assert logme(x * np.float32(scale), labels) == pytest.approx(logme(x, labels), abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_rotation_does_not_matter(shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(shape[1], shape[1])))
    assert logme((x @ rotation).astype(np.float32), labels) == pytest.approx(logme(x, labels), abs=1e-5)


@pytest.mark.parametrize("shape", [(300, 20), (100, 200)])
def test_it_grows_with_separation(shape: tuple[int, int]) -> None:
    scores = [logme(*clusters(*shape, spread)) for spread in (0.0, 0.3, 1.0, 3.0)]
    assert scores == sorted(scores)
    x, labels = clusters(*shape, 3.0)
    assert scores[-1] > logme(x, np.random.default_rng(1).permutation(labels)) + 0.5


def test_features_that_repeat_others_say_nothing_new() -> None:
    x, labels = clusters(40, 6)
    assert logme(np.hstack([x, x]), labels) == pytest.approx(logme(x, labels), abs=1e-5)
    assert logme(np.hstack([x, np.zeros_like(x)]), labels) == pytest.approx(logme(x, labels), abs=1e-9)


def test_features_without_any_content_give_the_evidence_of_noise_alone() -> None:
    labels = np.array([0, 0, 0, 1])
    noise = [-(np.log(2 * np.pi * share) + 1) / 2 for share in (3 / 4, 1 / 4)]  # N(0, mean of y^2)
    assert logme(np.zeros((4, 7), np.float32), labels) == pytest.approx(np.mean(noise))


def test_constant_features_are_one_feature() -> None:
    labels = np.arange(12) % 2
    constant = np.full((12, 5), 3.0, np.float32)
    assert logme(constant, labels) == pytest.approx(logme(constant[:, :1], labels), abs=1e-9)


def test_features_that_are_the_answer_have_a_large_finite_score() -> None:
    labels = np.arange(30) % 3
    answer = np.eye(3, dtype=np.float32)[labels]
    assert np.isfinite(logme(answer, labels))
    assert logme(answer, labels) > logme(*clusters(30, 3, 100.0)) > logme(*clusters(30, 3, 1.0))


def test_classes_are_known_by_their_samples() -> None:
    x, labels = clusters(24, 5)
    assert logme(x, labels * 10) == logme(x, labels)  # classes 1 to 9 have no sample
    assert np.isfinite(logme(x, np.zeros_like(labels)))
