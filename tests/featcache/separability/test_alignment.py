"""Linear CKA against the papers' formulas as they are written, its invariances, and planted relations."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.separability import linear_cka, unit_gram


def features(n: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def hsic1(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, equation 5, term by term."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    first = np.trace(k @ m)
    second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ m @ one)
    return float((first + second - third) / (n * (n - 3)))


def debiased(x: np.ndarray, y: np.ndarray) -> float:
    k, m = (z.astype(np.float64) @ z.T.astype(np.float64) for z in (x, y))
    return hsic1(k, m) / np.sqrt(hsic1(k, k) * hsic1(m, m))


def biased(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019, equation in section 3 for linear kernels."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def rotation(width: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0].astype(np.float32)


@pytest.mark.parametrize(("n", "left", "right"), [(5, 3, 4), (40, 10, 200), (60, 300, 7)])
def test_it_is_the_papers_formula(n, left, right):
    x = features(n, left, 0) + 5
    y = x[:, :3] @ features(3, right, 1) + features(n, right, 2)
    assert linear_cka(x, y) == pytest.approx(debiased(x, y), abs=1e-5)
    assert linear_cka(y, x) == pytest.approx(debiased(x, y), abs=1e-5)


def test_the_unbiased_hsic_has_no_bias():
    """Its mean over independent draws is 0, where that of the biased estimate is far from it."""
    drawn = [(features(12, 6, 2 * seed), features(12, 50, 2 * seed + 1)) for seed in range(400)]
    found = [hsic1(x @ x.T, y @ y.T) for x, y in drawn]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    ours = [linear_cka(x, y) for x, y in drawn]
    assert abs(np.mean(ours)) < 0.02


def test_independent_features_wider_than_many_are_not_alike():
    x, y = features(100, 1000, 0), features(100, 2000, 1)
    assert abs(linear_cka(x, y)) < 0.05
    assert biased(x, y) > 0.9


def test_rotation_scale_and_offset_change_nothing():
    x = features(80, 30, 0) * np.linspace(0.1, 4, 30, dtype=np.float32)
    y = features(80, 12, 1) + x[:, :12]
    plain = linear_cka(x, y)
    turned = 1e-3 * x @ rotation(30, 2) + 7e-3
    assert linear_cka(turned, y) == pytest.approx(plain, abs=1e-5)
    assert linear_cka(x, turned) == pytest.approx(1, abs=1e-5)
    stretched = x * np.linspace(5, 0.01, 30, dtype=np.float32)  # no rotation: a linear map that is not isotropic
    assert abs(linear_cka(stretched, y) - plain) > 0.05


def test_what_two_have_in_common_is_found():
    """Half of either's variance is shared in the same number of directions: the shared energy is a half times a half
    over the whole, in a population formula that does not depend on N."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1500, 20))
    x, y = (np.concatenate([shared, rng.normal(size=(1500, 20))], axis=1).astype(np.float32) for _ in range(2))
    assert linear_cka(x, y) == pytest.approx(0.5, abs=0.02)


def test_features_that_tell_nothing_apart_have_no_cka():
    x = features(10, 4, 0)
    assert linear_cka(np.ones_like(x), x) is None
    assert linear_cka(x, np.eye(10, dtype=np.float32)) is None  # each as far from every other


def test_very_large_and_very_small_features_do_not_overflow():
    x = features(10, 4, 0)
    for scale in (1e-30, 1e30):
        assert linear_cka(x * np.float32(scale), x) == pytest.approx(1, abs=1e-5)


def test_a_unit_gram_has_length_one():
    assert np.linalg.norm(unit_gram(features(9, 5, 0))) == pytest.approx(1, abs=1e-6)
