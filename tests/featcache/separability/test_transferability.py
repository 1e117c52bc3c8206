"""Measures from the literature on transferability: against their formulas by other means; what little data gives."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm, ortho_group, spearmanr
from sklearn.decomposition import PCA

from featcache.separability import gbc, intrinsic_dimension, parc
from featcache.separability.class_overlap import LEAST

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

ALL: dict[str, Callable[[Floats, Ints], float | None]] = {
    "gbc": gbc,
    "parc": parc,
    "intrinsic_dimension": lambda x, labels: intrinsic_dimension(x),
}
JUDGES = ("gbc", "parc")


def clusters(n: int, width: int, spread: float = 1.0, classes: int = 3, seed: int = 0) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = rng.normal(size=(classes, width)) * spread
    return (centres[labels] + rng.normal(size=(n, width))).astype(np.float32), labels


# Against the formulas


@pytest.mark.parametrize("shape", [(30, 6), (12, 40)])
def test_parc_is_spearmans_correlation_of_all_pairs(shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    pairs = np.triu_indices(len(x), 1)
    distance = 1 - np.corrcoef(standard.astype(np.float64))[pairs]
    of_labels = np.round(1 - np.corrcoef(np.eye(3)[labels]), 9)[pairs]  # two values
    assert parc(x, labels) == pytest.approx(spearmanr(distance, of_labels).statistic, abs=1e-5)


def test_parc_leaves_out_pairs_of_a_group_and_of_copies() -> None:
    x, labels = clusters(24, 8)
    groups = np.arange(24) // 6
    one, other = np.triu_indices(24, 1)
    apart = groups[one] != groups[other]
    standard = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float64)
    distance = 1 - np.corrcoef(standard)[one, other][apart]
    expected = spearmanr(distance, (labels[one] != labels[other])[apart]).statistic
    assert parc(x, labels, groups=groups) == pytest.approx(expected, abs=1e-5)
    rng = np.random.default_rng(0)
    noise, of = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 2, 40)
    twice = parc(np.repeat(noise, 2, axis=0), np.repeat(of, 2))
    assert twice is not None
    assert abs(twice) < 0.1  # were a copy a pair of its own, noise would look like classes


def test_gbc_of_one_feature_is_an_integral() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 30, 10])
    x = (rng.normal(size=60) * np.array([1.0, 2.0, 0.5])[labels] + labels).astype(np.float32)
    own = [norm(x[labels == c].mean(dtype=np.float64), x[labels == c].std(dtype=np.float64)) for c in range(3)]
    overlap = sum(
        quad(lambda t, p=p, q=q: np.sqrt(p.pdf(t) * q.pdf(t)), -30, 30, limit=200)[0] for p, q in permutations(own, 2)
    )
    assert gbc(x[:, None], labels) == pytest.approx(-np.log(overlap), abs=1e-5)


@pytest.mark.parametrize(("n", "width"), [(90, 5), (30, 200)])
def test_gbc_is_that_of_principal_components(n: int, width: int) -> None:
    x, labels = clusters(n, width)
    kept = min(64, width, n - 1)
    z = PCA(n_components=kept).fit_transform(x.astype(np.float64))
    sums = 0.0
    for one, other in permutations(range(3), 2):
        p, q = z[labels == one], z[labels == other]
        covariances = [np.diag(np.maximum(of.var(axis=0), LEAST * z.var(axis=0))) for of in (p, q)]
        middle = (covariances[0] + covariances[1]) / 2
        gap = p.mean(axis=0) - q.mean(axis=0)
        logs = [np.linalg.slogdet(m).logabsdet for m in (middle, *covariances)]
        sums += np.exp(-(gap @ np.linalg.solve(middle, gap) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2))
    assert gbc(x, labels) == pytest.approx(-np.log(sums), rel=1e-4)


# Planted manifolds


@pytest.mark.parametrize(("dimensions", "within"), [(1, 0.1), (2, 0.2), (5, 0.7), (8, 1.2)])
def test_the_dimension_of_a_bent_sheet_is_found(dimensions: int, within: float) -> None:
    rng = np.random.default_rng(0)
    sheet = rng.uniform(size=(1500, dimensions))
    bent = np.hstack([np.sin(2 * sheet), np.cos(2 * sheet), sheet**2]) @ rng.normal(size=(3 * dimensions, 60))
    assert intrinsic_dimension(bent.astype(np.float32)) == pytest.approx(dimensions, abs=within)


def test_the_dimension_is_that_of_the_formula_whatever_the_density() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3)).astype(np.float32)  # dense in the middle
    distances = np.sort(np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2), axis=1)
    logs = np.sort(np.log(distances[:, 2] / distances[:, 1]))[:360]
    slope = np.linalg.lstsq(logs[:, None], -np.log(1 - np.arange(1, 361) / 400), rcond=None)[0][0]
    assert intrinsic_dimension(x) == pytest.approx(slope)
    assert slope == pytest.approx(3, abs=0.4)


def test_copies_and_features_far_from_0_do_not_change_the_dimension() -> None:
    x = np.random.default_rng(0).uniform(size=(300, 4)).astype(np.float32)
    found = intrinsic_dimension(x)
    assert found is not None
    assert intrinsic_dimension(np.vstack([x, x[:100], x[:100]])) == pytest.approx(found)
    moved = (np.round(x * 2**10) + 2**13).astype(np.float32)  # exact in float32
    assert intrinsic_dimension(moved) == pytest.approx(intrinsic_dimension((np.round(x * 2**10)).astype(np.float32)))


# What holds for all of them


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("shape", [(300, 20), (60, 200)])
def test_they_grow_with_separation(name: str, shape: tuple[int, int]) -> None:
    scores = [ALL[name](*clusters(*shape, spread)) or 0.0 for spread in (0.0, 0.3, 0.6, 1.0)]
    assert scores == sorted(set(scores))
    x, labels = clusters(*shape, 1.0)
    shuffled = ALL[name](x, np.random.default_rng(1).permutation(labels))
    assert shuffled is not None
    assert scores[-1] > shuffled


@pytest.mark.parametrize("name", ["gbc", "intrinsic_dimension"])
def test_rotation_does_not_matter(name: str) -> None:
    x, labels = clusters(40, 12)
    turned = (x @ ortho_group.rvs(12, random_state=1)).astype(np.float32)
    assert ALL[name](turned, labels) == pytest.approx(ALL[name](x, labels), rel=1e-4)


ROWS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LITTLE: dict[str, tuple[Floats, Ints]] = {
    "one image": (ROWS[:1], np.zeros(1, np.int64)),
    "two images of a class": (ROWS[:2], np.zeros(2, np.int64)),
    "two images of two classes": (ROWS[:2], np.arange(2)),
    "one class": (ROWS, np.zeros(6, np.int64)),
    "as many classes as images": (ROWS, np.arange(6)),
    "a class of one image": (ROWS, np.array([0, 0, 0, 1, 1, 2])),
    "zeros": (np.zeros((6, 4), np.float32), np.arange(6) % 2),
    "constant": (np.full((6, 4), 7.0, np.float32), np.arange(6) % 2),
    "identical rows in each class": (np.eye(4, dtype=np.float32)[np.arange(6) % 2], np.arange(6) % 2),
    "identical rows across classes": (ROWS[np.arange(6) // 2], np.arange(6) % 2),
    "one feature": (ROWS[:, :1], np.arange(6) % 2),
    "two values": (np.array([[0.0], [1.0]] * 3, np.float32), np.arange(6) // 3),
    "large": (ROWS * np.float32(1e18), np.arange(6) % 2),
    "small": (ROWS * np.float32(1e-18), np.arange(6) % 2),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case", LITTLE)
def test_little_gives_a_number_or_none(name: str, case: str) -> None:
    found = ALL[name](*LITTLE[case])
    assert found is None or np.isfinite(found)
    if name in JUDGES and case in ("one image", "two images of a class", "one class"):
        assert found is None
    if case in ("zeros", "constant"):
        assert found is None


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_scale_does_not_matter(name: str, scale: float) -> None:
    x, labels = clusters(24, 6)
    assert ALL[name](x * np.float32(scale), labels) == pytest.approx(ALL[name](x, labels), rel=1e-4)


@pytest.mark.parametrize("name", JUDGES)
def test_a_class_of_one_image_is_told_from_the_others(name: str) -> None:
    x, labels = clusters(31, 8, 3.0)
    labels[-1] = 3
    x[-1] = 20
    far, near = x.copy(), x.copy()
    near[-1] = x[0] + 0.01
    told, lost = ALL[name](far, labels), ALL[name](near, labels)
    assert told is not None and lost is not None
    assert told > lost
