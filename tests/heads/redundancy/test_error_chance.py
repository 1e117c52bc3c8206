"""Errors by chance: what enumerating every case gives, for images and for groups of them."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest

from heads.redundancy import error_chance as module
from heads.redundancy.error_chance import by_unit, chance_of_differing, chance_of_shared, shared_by_chance


@pytest.mark.parametrize(("counts", "n"), [((2, 3, 2), 5), ((1, 4), 4), ((0, 2), 3), ((3,), 6), ((3, 3, 3), 3)])
def test_chance_is_what_enumerating_every_set_gives(counts, n):
    sets = [[set(c) for c in combinations(range(n), count)] for count in counts]
    sizes = [len(set.intersection(*chosen)) for chosen in product(*sets)]
    expected = np.bincount(sizes, minlength=min(counts) + 1) / len(sizes)
    assert shared_by_chance(counts, n) == pytest.approx(expected)


def test_differing_is_cochrans_q_by_enumeration():
    hits = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=np.int64)
    rows = [sorted(set(permutations(row))) for row in hits.tolist()]
    spreads = [(np.sum(drawn, axis=0) ** 2).sum() for drawn in product(*rows)]
    exact = np.mean(np.array(spreads) >= (hits.sum(axis=0) ** 2).sum())
    assert chance_of_differing(hits, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)


def test_of_many_images_the_limit_is_the_permutation(monkeypatch):
    rng = np.random.default_rng(3)
    hits = (rng.random((150, 4)) < np.array([0.35, 0.3, 0.25, 0.24])).astype(np.int64)
    limit = chance_of_differing(hits, rng)
    monkeypatch.setattr(module, "MANY", 10**9)
    assert 0.01 < limit < 0.6
    assert limit == pytest.approx(chance_of_differing(hits, rng), abs=0.02)


def test_what_never_differs_is_no_difference():
    assert chance_of_differing(np.ones((5, 3), dtype=np.int64), np.random.default_rng(0)) == 1
    assert chance_of_differing(np.zeros((5, 3), dtype=np.int64), np.random.default_rng(0)) == 1


def test_counts_of_groups_differ_as_enumerating_gives():
    hits = np.array([[3, 0, 1], [2, 1, 0], [4, 4, 4], [1, 0, 0]])
    spreads = [
        (np.sum(drawn, axis=0) ** 2).sum() for drawn in product(*(list(permutations(row)) for row in hits.tolist()))
    ]
    exact = np.mean(np.array(spreads) >= (hits.sum(axis=0) ** 2).sum())
    assert chance_of_differing(hits, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)


def test_images_are_counted_by_unit():
    hits = np.array([[1, 1, 0, 1], [0, 1, 0, 0]], dtype=bool)
    assert by_unit(hits, np.array([5, 5, 7, 9])).tolist() == [[2, 1], [0, 0], [1, 0]]


def test_one_image_of_each_unit_is_as_sure_as_units_are():
    rng = np.random.default_rng(0)
    wrong = np.zeros((3, 40), dtype=bool)
    wrong[:, :5] = True
    labels = np.zeros(40, np.int64)
    by_image = chance_of_shared(wrong, labels, np.arange(40), rng)
    assert by_image == pytest.approx(shared_by_chance((5, 5, 5), 40)[5:].sum())
    five = np.repeat(np.arange(8), 5)  # the five are one group: one of 8, in all of three, is (1/8)^2
    assert chance_of_shared(wrong, labels, five, rng) == pytest.approx(1 / 64)
