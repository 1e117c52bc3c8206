"""Subsets of the training images: nested, as large as they say, whole groups, the same whoever asks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from featcache.places import FilePlace
from featcache.records import ImageRecord
from heads.learning_curves.training_subsets import curve_sizes, nested_subsets, tell_apart


def images(*counts: int, group: int = 0) -> list[ImageRecord]:
    """So many of each class; with `group`, so many neighbours each are of one group."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return [
        ImageRecord(
            FilePlace(Path(f"{i}.png")), f"{i}.png", f"{i:064x}", label, "train", f"g{i // group}" if group else None
        )
        for i, label in enumerate(labels)
    ]


def of_class(records: list[ImageRecord], subset: np.ndarray) -> list[int]:
    return np.bincount([records[i].label for i in subset], minlength=max(r.label for r in records) + 1).tolist()


def test_sizes_are_so_many_of_each_class_then_halves_up_to_all() -> None:
    sizes = curve_sizes(np.repeat([0, 1], 300), 2)
    assert [s.name for s in sizes] == [*(f"{k} per class" for k in (1, 2, 4, 8, 16, 32)), "1/8", "1/4", "1/2", "all"]
    assert [sum(s.targets) for s in sizes] == [2, 4, 8, 16, 32, 64, 76, 150, 300, 600]


def test_subsets_have_exactly_what_their_size_says_of_each_class() -> None:
    records = images(207, 88, 33, 20, 3)
    sizes = curve_sizes(np.array([r.label for r in records]), 5)
    subsets = nested_subsets(records, sizes, draw=0)
    assert [of_class(records, s) for s in subsets] == [list(size.targets) for size in sizes]
    assert of_class(records, subsets[3]) == [8, 8, 8, 8, 3]
    assert of_class(records, subsets[-1]) == [207, 88, 33, 20, 3]


@pytest.mark.parametrize("group", [0, 3])
def test_a_larger_subset_of_a_draw_holds_the_smaller_ones(group: int) -> None:
    records = images(60, 17, 5, group=group)
    sizes = curve_sizes(np.array([r.label for r in records]), 3)
    for draw in range(3):
        subsets = nested_subsets(records, sizes, draw)
        assert all(set(small) <= set(large) for small, large in pairwise(subsets))
        assert subsets[-1].tolist() == list(range(len(records)))


def test_relatives_are_taken_whole() -> None:
    records = images(40, 40, group=4)
    sizes = curve_sizes(np.array([r.label for r in records]), 2)
    for subset in nested_subsets(records, sizes, draw=1):
        taken = {records[i].group for i in subset}
        assert len(subset) == 4 * len(taken)


def test_draws_differ_and_a_draw_is_the_same_in_whatever_order_images_come() -> None:
    records = images(30, 30)
    sizes = curve_sizes(np.array([r.label for r in records]), 2)
    names = [{records[i].name for i in nested_subsets(records, sizes, draw)[2]} for draw in (0, 1)]
    assert names[0] != names[1]
    turned = records[::-1]
    assert {turned[i].name for i in nested_subsets(turned, sizes, 0)[2]} == names[0]


def test_of_sizes_that_whole_groups_make_the_same_one_stays() -> None:
    records = images(32, 32, group=8)  # eight of a patient: 1, 2, 4 and 8 of a class are the same two patients
    sizes = curve_sizes(np.array([r.label for r in records]), 2)
    draws = [nested_subsets(records, sizes, draw) for draw in range(3)]
    apart = tell_apart(sizes, draws)
    assert [sizes[at].name for at in apart] == ["8 per class", "16 per class", "all"]
    assert [len(draws[0][at]) for at in apart] == [16, 32, 64]
    single = [nested_subsets(images(32, 32), sizes, draw) for draw in range(3)]
    shots = [f"{n} per class" for n in (1, 2, 4, 8, 16)]
    assert [sizes[at].name for at in tell_apart(sizes, single)] == [*shots, "all"]
