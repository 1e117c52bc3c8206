"""The cut of a data set without splits: exact by class, by whole families, nearly the same when images are added."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.data.stratified_cut import part, seats
from featcache.records import Split

SHARES: dict[Split, float] = {"val": 0.15, "test": 0.15}
Families = dict[str, dict[int, int]]


def single(sizes: dict[int, int], first: int = 0) -> Families:
    """So many images of each class, each a family of its own."""
    return {f"{label} {n}": {label: 1} for label, size in sizes.items() for n in range(first, first + size)}


def counts(families: Families, placed: dict[str, Split]) -> dict[int, tuple[int, int, int]]:
    """Images of each class in train, val and test."""
    found: Counter[tuple[int, str]] = Counter()
    for family, own in families.items():
        for label, n in own.items():
            found[label, placed.get(family, "train")] += n
    return {k: (found[k, "train"], found[k, "val"], found[k, "test"]) for k in {label for label, _ in found}}


def test_blood_cells_are_cut_as_anyone_would_count() -> None:
    families = single({0: 207, 1: 88, 2: 33, 3: 20, 4: 3})
    assert counts(families, part(families, SHARES)) == {
        0: (145, 31, 31),
        1: (62, 13, 13),
        2: (23, 5, 5),
        3: (14, 3, 3),
        4: (1, 1, 1),
    }


@pytest.mark.parametrize("shares", [SHARES, {"val": 0.2, "test": 0.1}, {"val": 0.01, "test": 0.3}, {"test": 0.15}])
def test_seats_are_exact_to_one_and_grow_one_at_a_time(shares: dict[Split, float]) -> None:
    exact = {"train": 1 - sum(shares.values()), **shares}
    before = seats(0, shares)
    for images in range(1, 1200):
        now = seats(images, shares)
        assert sum(now.values()) == images
        assert sorted(now[s] - before[s] for s in now) == [0] * (len(now) - 1) + [1]
        if images * min(exact.values()) >= 1:
            assert all(abs(now[s] - images * exact[s]) < 1 for s in now)
        assert [n > 0 for n in now.values()] == [place < images for place in range(len(now))]
        before = now


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 400), st.integers(0, 10**6))
def test_an_image_that_is_added_moves_one_over_each_end_of_train_at_most(images: int, seed: int) -> None:
    families = {f"{seed} {n}": {0: 1} for n in range(images)}
    before = part(families, SHARES)
    after = part({**families, "new": {0: 1}}, SHARES)
    moved = [(before.get(f, "train"), after.get(f, "train")) for f in families]
    moved = [(a, b) for a, b in moved if a != b]
    assert all("train" in pair for pair in moved)  # none goes from val to test or back
    assert len(moved) <= 2
    assert len({frozenset(pair) for pair in moved}) == len(moved)


def test_twice_as_many_images_move_few() -> None:
    before, after = part(single({0: 1000}), SHARES), part(single({0: 2000}), SHARES)
    moved = [f for f in single({0: 1000}) if before.get(f, "train") != after.get(f, "train")]
    assert len(moved) <= 30


def test_classes_do_not_disturb_each_other() -> None:
    alone = part(single({0: 50}), SHARES)
    beside = part({**single({0: 50}), **single({1: 77})}, SHARES)
    assert {f: s for f, s in beside.items() if f.startswith("0 ")} == alone


@pytest.mark.parametrize(("most", "off"), [(1, 3), (3, 5)])
def test_whole_families_come_as_near_to_the_shares_as_they_can(most: int, off: float) -> None:
    draws = np.random.default_rng(0)
    families: Families = {}
    for n in range(120):  # of 1 to 5 images of each of 1 to `most` classes
        own = draws.choice(3, draws.integers(1, most, endpoint=True), replace=False)
        families[f"P{n}"] = {int(label): int(draws.integers(1, 6)) for label in own}
    for images in counts(families, part(families, SHARES)).values():
        for split in (1, 2):
            assert abs(images[split] - 0.15 * sum(images)) <= off


def test_those_that_are_held_stay_where_others_can_go() -> None:
    families = single({0: 40})
    held = frozenset(list(families)[:20])
    placed = part(families, SHARES, held)
    assert held.isdisjoint(placed)
    assert counts(families, placed) == {0: (28, 6, 6)}
    assert set(part(families, SHARES, frozenset(families)).values()) == {"val", "test"}
