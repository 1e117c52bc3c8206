"""Errors that all backbones share: planted images and classes."""

from __future__ import annotations

import numpy as np
import pytest

from heads.redundancy.answers import Answers
from heads.redundancy.common_errors import CommonErrors, common_errors

CLASSES = 4


def answers(predicted: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> Answers:
    names = tuple(f"network {k}" for k in range(len(predicted)))
    images = tuple(f"val/{i}.png" for i in range(len(labels)))
    units = images if groups is None else tuple(f"group {g}" for g in groups)
    return Answers(names, predicted, {}, labels, images, units)


def board(backbones: int, per_class: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Every image right in every backbone."""
    labels = np.repeat(np.arange(CLASSES), per_class)
    return np.tile(labels, (backbones, 1)), labels


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


COPIES = 8


def copied(predicted: np.ndarray, labels: np.ndarray, grouped: bool) -> CommonErrors:
    """What is found where each image is there several times, as one group or as if they were independent."""
    groups = np.repeat(np.arange(len(labels)), COPIES) if grouped else None
    found = common_errors(answers(np.repeat(predicted, COPIES, axis=1), np.repeat(labels, COPIES), groups))
    assert found is not None
    return found


def test_copies_within_groups_change_no_probability():
    """Where backbones differ by luck and share by luck, copies counted for images would make it certain."""
    predicted, labels = board(3, per_class=20)
    predicted[0, :4] = predicted[1, 3:6] = predicted[2, [2, 3]] = 1  # of class 0; one by all
    predicted[0, 25:27] = 0
    alone = common_errors(answers(predicted, labels))
    together, apart = (copied(predicted, labels, grouped) for grouped in (True, False))
    assert together.shared.p == pytest.approx(alone.shared.p)
    assert together.shared.found == COPIES * alone.shared.found
    assert together.shared.expected == pytest.approx(COPIES * alone.shared.expected)
    (one,), (same,), (other,) = alone.confused, together.confused, apart.confused
    assert same.counts == other.counts == tuple(COPIES * n for n in one.counts)
    assert same.p_differ == pytest.approx(one.p_differ, abs=0.02)
    assert same.shared.p == pytest.approx(one.shared.p)
    assert not (one.by_some or one.by_every or same.by_some or same.by_every)
    assert other.by_some and apart.shared.beyond_chance  # what counting images would have said


def test_independent_errors_of_groups_are_neither():
    """The same as of images, where all frames of a video are mostly wrong together."""
    rng = np.random.default_rng(1)
    every = some = shared = 0
    for _ in range(30):
        labels = np.repeat(np.arange(CLASSES), 10)
        groups = np.repeat(np.arange(len(labels)), rng.choice([1, 1, 12], len(labels)))
        wrong = np.where(rng.random((3, len(groups))) < 0.8, (rng.random((3, 40)) < 0.3)[:, groups], False)
        predicted = np.where(wrong, (labels[groups] + 1) % CLASSES, labels[groups])
        found = common_errors(answers(predicted, labels[groups], groups))
        shared += found.shared.beyond_chance
        every += any(one.by_every for one in found.confused)
        some += any(one.by_some for one in found.confused)
    assert max(every, some, shared) <= 5


def test_groups_that_all_get_wrong_are_still_found():
    predicted, labels = board(4)
    groups = np.arange(len(labels)) // 3
    predicted[:, :12] = 1  # four groups of class 0
    predicted[1, 60:90] = 3  # ten of class 2, by one backbone
    found = common_errors(answers(predicted, labels, groups))
    assert found.shared.beyond_chance
    by = {one.classes: (one.by_every, one.by_some) for one in found.confused}
    assert by == {(0, 1): (True, False), (2, 3): (False, True)}
