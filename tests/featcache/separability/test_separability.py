"""Measures of separability: against formulas written out and scikit-learn; what scale, rotation, copies do to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import StandardScaler

from featcache.separability import (
    centroid_accuracy,
    effective_rank,
    fisher_ratio,
    gbc,
    h_score,
    intrinsic_dimension,
    knn_accuracy,
    linear_probe,
    logistic_probe,
    logme,
    measure,
    parc,
    silhouette,
)
from featcache.separability.grouping import deal, together
from featcache.separability.nearest_neighbours import _vote
from featcache.separability.ridge_probe import FOLDS, SEED, ridge
from featcache.separability.spectrum import FLOOR

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


# The other measures

Measure = Callable[[NDArray[np.float32], NDArray[np.int64]], float | None]

ACCURACIES: list[Measure] = [linear_probe, knn_accuracy, centroid_accuracy]
UNROTATED: list[Measure] = [
    knn_accuracy,
    centroid_accuracy,
    h_score,
    fisher_ratio,
    silhouette,
    lambda x, _: effective_rank(x),
]
OF_LABELS: list[Measure] = [*ACCURACIES, h_score, fisher_ratio, silhouette]


def correlated(samples: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clusters whose covariance is far from a multiple of the identity, so that the shrinkage is between 0 and 1."""
    x, labels = clusters(samples, width, 2.0 / np.sqrt(width))
    mixed = x @ (np.random.default_rng(3).normal(size=(width, width)) * np.linspace(0.1, 3, width)[:, None])
    return mixed.astype(np.float32), labels


def folds_of(x: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return deal(labels, together(x, None), FOLDS, SEED)


@pytest.mark.parametrize("shape", [(90, 6), (60, 90)])
def test_linear_probe_is_ridge_on_standardised_features(shape: tuple[int, int]) -> None:
    x, labels = correlated(*shape)
    fold, right = folds_of(x, labels), 0
    for f in range(FOLDS):
        train = fold != f
        scaler = StandardScaler().fit(x[train].astype(np.float64))
        z = scaler.transform(x[train].astype(np.float64))
        share = ledoit_wolf_shrinkage(z)
        model = RidgeClassifier(alpha=train.sum() * share / (1 - share)).fit(z, labels[train])
        right += (model.predict(scaler.transform(x[~train].astype(np.float64))) == labels[~train]).sum()
    assert 0.4 < right / len(x) < 1
    assert linear_probe(x, labels) == right / len(x)


@pytest.mark.parametrize("shape", [(30, 4), (12, 30)])
def test_ridge_is_the_shrunk_covariance_solved(shape: tuple[int, int]) -> None:
    features, labels = correlated(*shape)
    x = features - features.mean(axis=0, dtype=np.float64)
    targets, test = np.eye(3)[labels], np.random.default_rng(0).normal(size=(7, shape[1]))
    covariance, share = ledoit_wolf(x, assume_centered=True)
    weights = np.linalg.solve(covariance / (1 - share), x.T @ (targets - targets.mean(axis=0)) / len(x))
    np.testing.assert_allclose(ridge(x, targets, test), test @ weights + targets.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("samples", [1, 5])
def test_ridge_on_features_without_content_answers_with_the_shares(samples: int) -> None:
    targets = np.eye(2)[np.arange(samples) % 2]
    found = ridge(np.zeros((samples, 3)), targets, np.zeros((1, 3)))
    np.testing.assert_allclose(found, targets.mean(axis=0)[None])


def test_folds_are_stratified_and_keep_groups_together() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 300)
    classes = groups % 3
    fold = deal(classes, groups, 5, 0)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[groups == g])) == 1 for g in set(groups))
    held = np.array([np.bincount(classes[fold == f], minlength=3) for f in range(5)])
    assert (np.ptp(held, axis=0) <= np.bincount(groups).max()).all()


@pytest.mark.parametrize(("smallest", "folds"), [(1, 2), (2, 2), (3, 3), (5, 5), (9, 5)])
def test_fewer_folds_where_a_class_is_small(smallest: int, folds: int) -> None:
    classes = np.array([0] * 20 + [1] * smallest)
    assert deal(classes, np.arange(len(classes)), 5, 0).max() + 1 == folds


def test_identical_rows_and_groups_that_share_one_are_together() -> None:
    x = np.array([[0.0, 1], [2, 3], [-0.0, 1], [4, 5], [6, 7], [2, 3]], np.float32)
    assert [set(np.flatnonzero(together(x, None) == u)) for u in together(x, None)[[0, 1, 3, 4]]] == [
        {0, 2},
        {1, 5},
        {3},
        {4},
    ]
    units = together(x, np.array([7, 8, 9, 9, 3, 3]))  # rows 0 and 2 link groups 7 and 9; 1 and 5 link 8 and 3
    assert len(set(units)) == 2
    assert units[0] == units[2] == units[3] != units[1] == units[4] == units[5]


@pytest.mark.parametrize("k", [1, 5, 9])
def test_knn_is_that_of_scikit_learn_left_one_out(k: int) -> None:
    x, labels = clusters(80, 8, 0.7, classes=2)  # two classes and an odd k: no ties
    model = KNeighborsClassifier(k, metric="cosine")
    expected = cross_val_score(model, x.astype(np.float64), labels, cv=LeaveOneOut()).mean()
    assert 0.4 < expected < 1
    assert knn_accuracy(x, labels, k=k) == pytest.approx(expected)


def test_knn_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters(80, 8, 0.7)
    whole = knn_accuracy(x, labels)
    monkeypatch.setattr("featcache.separability.nearest_neighbours.BLOCK", 7)
    assert knn_accuracy(x, labels) == whole


def test_knn_ties_go_to_the_more_similar_class() -> None:
    angles = np.array([0.0, 0.1, 0.2, 0.15, 0.3])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    alike = (x @ x[0])[1:]
    assert alike[0] + alike[2] > alike[1] + alike[3]
    for labels in ([1, 1, 0, 1, 0], [0, 0, 1, 0, 1]):  # whatever the classes' order
        others = np.array(labels)[1:]
        assert _vote(alike[None], others, 4)[0] == labels[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_centroids_are_those_of_scikit_learn_left_one_out(shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape, 0.5)
    expected = cross_val_score(NearestCentroid(), x.astype(np.float64), labels, cv=LeaveOneOut()).mean()
    assert centroid_accuracy(x + np.float32(50), labels) == pytest.approx(expected)


@pytest.mark.parametrize("score", ACCURACIES)
def test_copies_do_not_answer_for_each_other(score: Measure) -> None:
    x, _ = clusters(60, 40)
    labels = np.random.default_rng(2).integers(0, 3, 60)
    accuracy = score(np.tile(x, (4, 1)), np.tile(labels, 4))
    assert accuracy is not None
    assert accuracy < 0.6  # with its copies around, an image of the most random label would be right


@pytest.mark.parametrize("score", [linear_probe, knn_accuracy, centroid_accuracy])
def test_images_of_a_group_do_not_answer_for_each_other(score: Callable[..., float | None]) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 5)
    labels = rng.integers(0, 3, 24)[groups]
    x = (rng.normal(size=(24, 40))[groups] + 0.01 * rng.normal(size=(120, 40))).astype(np.float32)
    apart, leaking = score(x, labels, groups=groups), score(x, labels)
    assert apart is not None
    assert leaking is not None
    assert apart + 0.2 < leaking


@pytest.mark.parametrize("shape", [*SHAPES, (200, 5)])
def test_silhouette_is_that_of_scikit_learn(shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape)
    labels = np.where(np.arange(len(x)) == 4, 9, labels)  # and a class of one
    expected = silhouette_score(x.astype(np.float64), labels, metric="cosine")
    assert silhouette(x, labels) == pytest.approx(expected, abs=1e-9)


def scatters(x: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Covariance of the features and of their class means, each `[F, F]`."""
    wide = x.astype(np.float64)
    means = np.zeros_like(wide)
    for c in np.unique(labels):
        means[labels == c] = wide[labels == c].mean(axis=0)
    return np.cov(wide.T, bias=True), np.cov(means.T, bias=True)


@pytest.mark.parametrize("shape", [*SHAPES, (300, 8)])
def test_h_score_and_fisher_ratio_by_matrices(shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape)
    total, between = scatters(x, labels)
    shrunk, share = ledoit_wolf(x.astype(np.float64))
    assert h_score(x, labels) == pytest.approx((1 - share) * np.trace(np.linalg.pinv(shrunk) @ between), rel=1e-6)
    ridge_ = max(share, FLOOR) * np.trace(total) / len(total)
    within = total - between + ridge_ * np.eye(len(total))
    assert fisher_ratio(x, labels) == pytest.approx(np.trace(np.linalg.solve(within, between)), rel=1e-6)


def test_with_many_images_they_are_those_without_shrinkage() -> None:
    x, labels = clusters(30_000, 6)
    total, between = scatters(x, labels)
    assert h_score(x, labels) == pytest.approx(np.trace(np.linalg.pinv(total) @ between), rel=5e-3)
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(x.astype(np.float64), labels)
    within = lda.covariance_
    eigenvalues = np.linalg.eigvals(np.linalg.solve(within, between)).real
    assert fisher_ratio(x, labels) == pytest.approx(eigenvalues.sum(), rel=2e-2)


def test_h_score_says_little_of_random_labels_however_few_the_images() -> None:
    x, labels = clusters(60, 500, 0.0, classes=4)
    total, between = scatters(x, labels)
    assert np.trace(np.linalg.pinv(total) @ between) == pytest.approx(3, abs=1e-6)  # its ceiling, by chance alone
    assert 0 <= h_score(x, labels) < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_effective_rank_by_singular_values(shape: tuple[int, int]) -> None:
    x, _ = clusters(*shape)
    p = np.linalg.svd(x - x.mean(axis=0, dtype=np.float64), compute_uv=False)
    p = p[p > 1e-9] / p.sum()
    assert effective_rank(x) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_effective_rank_counts_equal_directions() -> None:
    x = np.concatenate([np.eye(5, 9), -np.eye(5, 9)]).astype(np.float32)
    assert effective_rank(x) == pytest.approx(5)
    assert effective_rank(np.outer(np.arange(7), np.ones(4)).astype(np.float32)) == pytest.approx(1)


@pytest.mark.parametrize("score", UNROTATED)
@pytest.mark.parametrize("shape", [(60, 5), (24, 60)])
def test_neither_rotation_nor_scale_matters(score: Measure, shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape, 0.6)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(shape[1], shape[1])))
    assert score((x @ rotation).astype(np.float32), labels) == pytest.approx(score(x, labels), rel=1e-4)
    for scale in (1e-6, 1e6):
        assert score(x * np.float32(scale), labels) == pytest.approx(score(x, labels), rel=1e-4)


def test_the_scale_of_a_feature_does_not_matter_to_the_linear_probe() -> None:
    x, labels = clusters(60, 8, 0.6)
    assert linear_probe(x * np.float32(2.0) ** np.arange(-20, 20, 5, dtype=np.float32), labels) == linear_probe(
        x, labels
    )


@pytest.mark.parametrize("score", OF_LABELS)
@pytest.mark.parametrize("shape", [(120, 10), (60, 120)])
def test_separated_clusters_score_more_than_shuffled_labels(score: Measure, shape: tuple[int, int]) -> None:
    x, labels = clusters(*shape, 3.0)
    separated, shuffled = score(x, labels), score(x, np.random.default_rng(1).permutation(labels))
    assert separated is not None
    assert shuffled is not None
    assert separated > shuffled + 0.3
    weaker = score(*clusters(*shape, 0.2))
    assert weaker is not None
    assert separated > weaker


def test_measure_gives_each_of_them() -> None:
    x, labels = clusters(60, 12, 0.5)
    labels = labels * 7 - 3  # numbers of classes may be any
    groups = np.arange(60) // 2
    assert measure(x, labels, groups=groups) == {
        "n": 60,
        "linear_probe": linear_probe(x, labels, groups=groups),
        "logistic_probe": logistic_probe(x, labels, groups=groups),
        "knn_accuracy": knn_accuracy(x, labels, groups=groups),
        "centroid_accuracy": centroid_accuracy(x, labels, groups=groups),
        "logme": logme(x, labels),
        "h_score": h_score(x, labels),
        "fisher_ratio": fisher_ratio(x, labels),
        "silhouette": silhouette(x, labels),
        "parc": parc(x, labels, groups=groups),
        "gbc": gbc(x, labels),
        "effective_rank": effective_rank(x),
        "intrinsic_dimension": intrinsic_dimension(x),
    }


DEGENERATE = {
    "one class": (clusters(20, 4)[0], np.zeros(20, np.int64), {"linear_probe": None, "silhouette": None, "h_score": 0}),
    "one of a class": (clusters(20, 4, 9.0)[0], np.array([0, 1] * 9 + [0, 2]), {}),
    "each of its own class": (clusters(6, 4)[0], np.arange(6), {"knn_accuracy": 0, "linear_probe": 0, "silhouette": 0}),
    "constant": (
        np.full((9, 3), 0.1, np.float32),
        np.arange(9) % 2,
        {"knn_accuracy": None, "centroid_accuracy": None, "h_score": 0, "silhouette": 0, "effective_rank": 0},
    ),
    "zero": (np.zeros((9, 3), np.float32), np.arange(9) % 2, {"linear_probe": None, "fisher_ratio": 0}),
    "constant in a class": (np.eye(2, dtype=np.float32)[np.arange(9) % 2], np.arange(9) % 2, {"silhouette": 1}),
    "a constant feature": (np.pad(clusters(20, 3)[0], ((0, 0), (0, 1)), constant_values=3.0), np.arange(20) % 3, {}),
    "two images": (clusters(2, 4)[0], np.arange(2), {"knn_accuracy": 0, "linear_probe": 0, "effective_rank": 1}),
    "two images of a class": (clusters(2, 4)[0], np.zeros(2, np.int64), {"knn_accuracy": None, "effective_rank": 1}),
    "one image": (clusters(1, 4)[0], np.zeros(1, np.int64), {"knn_accuracy": None, "effective_rank": 0, "n": 1}),
    "one feature": (clusters(12, 1)[0], np.arange(12) % 2, {"effective_rank": 1}),
    "copies of two classes": (np.tile(clusters(6, 3)[0], (2, 1)), np.arange(12) // 6, {"silhouette": -1 / 6}),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_input_has_a_defined_result(case: str) -> None:
    x, labels, expected = DEGENERATE[case]
    found = measure(x, labels)
    assert all(value is None or np.isfinite(value) for value in found.values())
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, abs=1e-6)), name
