"""Errors that all backbones share: chance by enumeration, planted images and classes."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest

from heads.redundancy import common_errors as module
from heads.redundancy.answers import Answers
from heads.redundancy.common_errors import common_errors, differ_by_chance, shared_by_chance

CLASSES = 4


def answers(predicted: np.ndarray, labels: np.ndarray) -> Answers:
    names = tuple(f"network {k}" for k in range(len(predicted)))
    images = tuple(f"val/{i}.png" for i in range(len(labels)))
    return Answers(names, predicted, {}, labels, images, images)


def board(backbones: int, per_class: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Every image right in every backbone."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    return np.tile(labels, (backbones, 1)), labels


@pytest.mark.parametrize(("counts", "n"), [((2, 3, 2), 5), ((1, 4), 4), ((0, 2), 3), ((3,), 6), ((3, 3, 3), 3)])
def test_chance_is_what_enumerating_every_set_gives(counts, n):
    sets = [[set(c) for c in combinations(range(n), count)] for count in counts]
    sizes = [len(set.intersection(*chosen)) for chosen in product(*sets)]
    expected = np.bincount(sizes, minlength=min(counts) + 1) / len(sizes)
    assert shared_by_chance(counts, n) == pytest.approx(expected)


def test_differing_is_cochrans_q_by_enumeration():
    hits = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=bool)
    rows = [sorted(set(permutations(row))) for row in hits.tolist()]
    spreads = [(np.sum(drawn, axis=0) ** 2).sum() for drawn in product(*rows)]
    exact = np.mean(np.array(spreads) >= (hits.sum(axis=0) ** 2).sum())
    assert differ_by_chance(hits, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)


def test_of_many_images_the_limit_is_the_permutation(monkeypatch):
    rng = np.random.default_rng(3)
    hits = rng.random((150, 4)) < np.array([0.35, 0.3, 0.25, 0.24])
    limit = differ_by_chance(hits, rng)
    monkeypatch.setattr(module, "MANY", 10**9)
    assert 0.01 < limit < 0.6
    assert limit == pytest.approx(differ_by_chance(hits, rng), abs=0.02)


def test_what_never_differs_is_no_difference():
    assert differ_by_chance(np.ones((5, 3), dtype=bool), np.random.default_rng(0)) == 1
    assert differ_by_chance(np.zeros((5, 3), dtype=bool), np.random.default_rng(0)) == 1


def test_images_that_all_get_wrong_are_named_with_what_most_say():
    predicted, labels = board(4)
    predicted[:, [0, 1, 2]] = 1  # of class 0, by all
    predicted[3, 2] = 3
    predicted[0, 40] = 2  # by one alone
    found = common_errors(answers(predicted, labels))
    assert [(one.image, one.label, one.said, one.by) for one in found.images] == [
        ("val/0.png", 0, 1, 4),
        ("val/1.png", 0, 1, 4),
        ("val/2.png", 0, 1, 3),
    ]
    assert found.shared.found == 3 and found.shared.beyond_chance
    assert found.shared.expected == pytest.approx(30 * (3 / 30) ** 4)
    assert found.n == 120
    first = found.confused[0]
    assert (first.classes, first.n, first.counts, first.shared.found) == ((0, 1), 60, (3, 3, 3, 2), 2)
    assert first.by_every and not first.by_some


def test_classes_that_one_backbone_confuses_are_a_matter_of_the_backbone():
    predicted, labels = board(4)
    predicted[2, 60:75] = 3
    predicted[2, 95] = 2
    (only,) = common_errors(answers(predicted, labels)).confused
    assert (only.classes, only.counts) == ((2, 3), (0, 0, 16, 0))
    assert only.by_some and not only.by_every


def test_independent_errors_are_neither():
    """Of 30 boards with independent errors at equal rates few say anything; 5% of each would be 1.5."""
    rng = np.random.default_rng(0)
    every = some = shared = 0
    for _ in range(30):
        predicted, labels = board(3, per_class=15)
        wrong = rng.random(predicted.shape) < 0.2
        predicted[wrong] = (predicted[wrong] + rng.integers(1, CLASSES, wrong.sum())) % CLASSES
        found = common_errors(answers(predicted, labels))
        shared += found.shared.beyond_chance
        every += any(one.by_every for one in found.confused)
        some += any(one.by_some for one in found.confused)
    assert max(every, some, shared) <= 5


def test_two_backbones_say_nothing_of_the_data():
    predicted, labels = board(2)
    predicted[:, :9] = 1
    assert common_errors(answers(predicted, labels)) is None
