"""The second judge against scikit-learn, and its choice of C against what it must not see."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from featcache.separability import logistic_probe, probe_logistic
from featcache.separability.grouping import deal, together
from featcache.separability.logistic_regression import LogisticProblems, PrincipalAxes
from featcache.separability.nested_logistic import LEAST_IMAGES
from featcache.separability.ridge_probe import FOLDS, SEED

Case = tuple[NDArray[np.float32], NDArray[np.int64]]


def case(samples: int, width: int, apart: float = 1.0, classes: int = 3, seed: int = 0) -> Case:
    """Classes in features of very unlike spread, not around 0."""
    rng, labels = np.random.default_rng(seed), np.arange(samples) % classes
    x = apart * rng.normal(size=(classes, width))[labels] + rng.normal(size=(samples, width))
    x = x @ (rng.normal(size=(width, width)) * np.geomspace(0.03, 1, width)[:, None]) + 5
    return x.astype(np.float32), labels


def scaled(x: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float64]:
    """Less the mean of `by` and over its root mean square length: what C is said for."""
    wide = by.astype(np.float64) - by.mean(axis=0, dtype=np.float64)
    return (x - by.mean(axis=0, dtype=np.float64)) / np.sqrt((wide**2).sum(axis=1).mean())


def sklearn(x: NDArray[np.float64], labels: NDArray[np.int64], c: float) -> LogisticRegression:
    return LogisticRegression(C=c, tol=1e-8, max_iter=20_000).fit(x, labels)


@pytest.mark.parametrize("shape", [(120, 8), (60, 150)], ids=["more images", "more features"])
@pytest.mark.parametrize("c", [0.1, 10.0, 1000.0])
def test_each_problem_is_scikit_learns_logistic_regression(
    shape: tuple[int, int], c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = case(*shape)
    trains = np.stack([np.arange(len(x)) % 4 != fold for fold in range(4)])
    axes = PrincipalAxes.of(x)
    problems = LogisticProblems(axes, labels, trains)
    weights = problems.fit(np.array([c, c, c, 3 * c]))
    monkeypatch.setattr("featcache.separability.logistic_regression.TOLERANCE", 1e-7)
    exact = problems.scores(problems.fit(np.array([c, c, c, 3 * c]), weights))
    wide = scaled(x, x)
    for number, train in enumerate(trains):
        own = 3 * c if number == 3 else c
        other = sklearn(wide[train], labels[train], own)
        theirs = other.decision_function(wide)
        mine = exact[:, number].T - exact[:, number].T.mean(axis=1, keepdims=True)
        assert np.allclose(mine, theirs - theirs.mean(axis=1, keepdims=True), atol=1e-3 * np.abs(theirs).max())
        decided = problems.scores(weights)[:, number].argmax(axis=0)
        assert np.mean(decided == other.predict(wide)) > 0.98
        nats = problems.losses(weights)[number][train].sum() + (weights[:, number, :-1] ** 2).sum() / 2 / own
        log_p = other.predict_log_proba(wide[train])[np.arange(train.sum()), labels[train]]
        assert nats == pytest.approx(-log_p.sum() + (other.coef_**2).sum() / 2 / own, rel=1e-3, abs=0.03)


def test_the_search_is_that_of_a_plain_nested_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.separability.nested_logistic.GRID", grid := np.array([0.1, 1.0, 10.0, 100.0]))
    x, labels = case(150, 12, 0.5)
    found = probe_logistic(x, labels)
    assert found is not None
    fold, wide = deal(labels, together(x, None), FOLDS, SEED), scaled(x, x)

    def loss(left: set[int], judge: int, c: float) -> float:
        train = ~np.isin(fold, list(left))
        log_p = sklearn(wide[train], labels[train], c).predict_log_proba(wide[fold == judge])
        return -float(log_p[np.arange(len(log_p)), labels[fold == judge]].sum())

    right = np.zeros(len(x), dtype=np.bool_)
    table = {(f, g): [loss({f, g}, g, c) for c in grid] for f in range(FOLDS) for g in ((f + 1) % 5, (f - 1) % 5)}
    for f in range(FOLDS):
        c = grid[np.sum([one for (of, _), one in table.items() if of == f], axis=0).argmin()]
        right[fold == f] = sklearn(wide[fold != f], labels[fold != f], c).predict(wide[fold == f]) == labels[fold == f]
    assert np.array_equal(found.right, right)
    assert logistic_probe(x, labels) == right.mean()
    assert found.c == grid[np.sum(list(table.values()), axis=0).argmin()]
    more, _ = case(90, 12, 0.5)
    assert np.array_equal(found.answers(more), sklearn(wide, labels, found.c).predict(scaled(more, x)))


def test_labels_by_chance_are_not_learned() -> None:
    """A C chosen by the images that it is judged by would find some that fit."""
    shares = [logistic_probe(case(90, 200, 0.0, seed=seed)[0], np.arange(90) % 3) for seed in range(12)]
    assert np.mean(np.array(shares, dtype=np.float64)) == pytest.approx(1 / 3, abs=0.05)


def test_neither_scale_nor_origin_matters() -> None:
    x, labels = case(80, 10, 0.6)
    found = [probe_logistic((x + more) * scale, labels) for more, scale in ((0, 1), (0, 2.0**-12), (8, 2.0**9))]
    assert found[0] is not None
    for one in found[1:]:
        assert one is not None
        assert one.c == found[0].c
        assert np.array_equal(one.right, found[0].right)


def test_a_class_with_two_images_has_two_folds_and_an_answer() -> None:
    x, labels = case(40, 6, 3.0, classes=2)
    labels[:2] = 2
    x[:2] = 30
    found = probe_logistic(x, labels)
    assert found is not None
    assert found.right[2:].mean() > 0.9


def test_of_many_classes_the_same_sample_is_looked_at_whatever_the_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.separability.nested_logistic.MOST_SCORES", 3 * 60)
    found = [probe_logistic(*case(200, width, 2.0)) for width in (5, 9)]
    assert found[0] is not None and found[1] is not None
    assert np.array_equal(found[0].looked, found[1].looked)
    assert len(found[0].looked) == len(found[0].right) == 60
    monkeypatch.setattr("featcache.separability.nested_logistic.MOST_SCORES", 3 * (3 * LEAST_IMAGES - 1))
    assert probe_logistic(*case(200, 5, 2.0)) is None
    assert probe_logistic(*case(12, 5, 2.0)) is not None  # all that there are, however few
