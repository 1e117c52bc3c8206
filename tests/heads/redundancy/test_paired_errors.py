"""Two backbones' errors side by side: each figure by its definition, and a test that is right about chance."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from heads.redundancy.answers import Answers
from heads.redundancy.paired_errors import PairedErrors, paired_errors, sign_flip

CLASSES = 3


def answers(probabilities: dict[str, np.ndarray], labels: np.ndarray, units: tuple[str, ...] | None = None) -> Answers:
    predicted = np.stack([p.mean(axis=0).argmax(axis=-1) for p in probabilities.values()])
    images = tuple(f"{i}.png" for i in range(len(labels)))
    return Answers(tuple(probabilities), predicted, probabilities, labels, images, units or images)


def sure(right: np.ndarray, labels: np.ndarray, how: float = 0.9) -> np.ndarray:
    """Probabilities `[..., N, C]` right where `right` `[..., N]` says so; elsewhere they name the next class."""
    said = np.where(right, labels, (labels + 1) % CLASSES)
    rest = (1 - how) / (CLASSES - 1)
    return np.where(np.arange(CLASSES) == said[..., None], how, rest).astype(np.float32)


def drawn(rng: np.random.Generator, images: int, seeds: int, level: np.ndarray | float) -> np.ndarray:
    """Noisy logits for class 0: two of them with the same `level` of each image are like two seeds of one network."""
    logits = rng.normal(0, 1, (seeds, images, CLASSES))
    logits[..., 0] += level
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_each_figure_is_its_definition():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=40)
    mine, theirs = rng.random((3, 40)) < 0.8, rng.random((2, 40)) < 0.6
    (pair,) = paired_errors(answers({"a": sure(mine, labels), "b": sure(theirs, labels)}, labels))
    both = [(mine[s], theirs[t]) for s, t in product(range(3), range(2))]
    assert pair.either == pytest.approx(np.mean([(x | y).mean() for x, y in both]))
    assert pair.apart == pytest.approx(np.mean([(x ^ y).mean() for x, y in both]))
    own = [
        np.mean([(r[s] ^ r[t]).mean() for s in range(len(r)) for t in range(len(r)) if s != t]) for r in (mine, theirs)
    ]
    assert pair.reseeded == pytest.approx(np.mean(own))
    x, y = (np.concatenate([one[k] for one in both]).astype(float) for k in (0, 1))
    assert pair.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_two_that_know_different_images_gain_and_one_and_its_copy_do_not():
    """Each is sure where it is right and unsure where it is wrong: averaged, the right one prevails."""
    labels = np.zeros(60, np.int64)
    left = np.tile(np.arange(60) < 45, (2, 1))
    right = np.tile(np.arange(60) >= 15, (2, 1))
    probabilities = {
        name: np.where(which[..., None], sure(which, labels), sure(which, labels, 0.4)).astype(np.float32)
        for name, which in {"left": left, "right": right, "left again": left}.items()
    }
    pairs = paired_errors(answers(probabilities, labels))
    found = {(p.one, p.other): p for p in pairs}
    assert pairs[-1] is found["left", "left again"]
    assert pairs[-1].gain == 0 and pairs[-1].p == 1
    for key in (("left", "right"), ("right", "left again")):
        assert (found[key].together, found[key].alone, found[key].gain) == (1, 0.75, 0.25)
        assert found[key].p < 0.01 and found[key].low > 0.1
        assert found[key].either == 1 and found[key].apart == 0.5


def test_one_seed_or_a_perfect_network_leave_open_what_they_cannot_say():
    labels = np.zeros(10, np.int64)
    some = np.arange(10)[None] < 7
    (pair,) = paired_errors(answers({"a": sure(some, labels), "b": sure(some | True, labels)}, labels))
    assert pair.reseeded is None and pair.correlation is None
    assert pair.better == "b" and pair.gain <= 0


def test_the_sign_flip_is_the_sign_test_of_a_single_pair():
    """Six images gained and none lost: 2 to the -6. Four and one: the binomial tail."""
    six = np.r_[np.ones(6), np.zeros(50)]
    assert sign_flip(six[None])[0] == pytest.approx(2**-6, abs=0.006)
    assert sign_flip(np.r_[np.ones(4), -1, np.zeros(9)][None])[0] == pytest.approx(6 / 32, abs=0.02)
    assert sign_flip(np.zeros((1, 20)))[0] == 1


def test_many_pairs_cost_what_they_would_by_chance():
    """Of 40 independent pairs with one planted, its p is about 40 times that of it alone; a copy costs nothing."""
    rng = np.random.default_rng(1)
    planted = np.r_[np.ones(11), np.zeros(189)]
    alone = sign_flip(planted[None])[0]
    noise = rng.choice([-1.0, 0, 1], size=(40, 200), p=[0.06, 0.88, 0.06])
    assert sign_flip(np.stack([planted, planted]))[0] == pytest.approx(alone, abs=0.001)
    among = sign_flip(np.vstack([planted, noise]))[0]
    assert 4 * alone < among < 80 * max(alone, 2**-11)


def test_networks_that_differ_like_seeds_are_not_suggested():
    """Boards of five equal ones: of 40 boards at 5% rarely more than 5."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(40):
        level = rng.normal(1.2, 1, 80)
        board = {str(k): drawn(rng, 80, 3, level).astype(np.float32) for k in range(5)}
        wrong += paired_errors(answers(board, np.zeros(80, np.int64)))[0].p < 0.05
    assert wrong <= 5


def test_the_likeliest_stand_first():
    rng = np.random.default_rng(0)
    board = {str(k): drawn(rng, 50, 2, rng.normal(1, 1, 50)).astype(np.float32) for k in range(4)}
    found: list[PairedErrors] = paired_errors(answers(board, np.zeros(50, np.int64)))
    assert len(found) == 6
    assert [p.p for p in found] == sorted(p.p for p in found)
    assert paired_errors(answers({"0": board["0"]}, np.zeros(50, np.int64))) == []


def test_frames_of_a_video_are_no_further_evidence():
    """Each image thirty times, as one group: as likely by chance as once, where thirty images would be sure."""
    rng = np.random.default_rng(3)
    labels = np.zeros(40, dtype=np.int64)
    half = np.arange(40) < 20
    probabilities = {"a": drawn(rng, 40, 2, np.where(half, 2, 0)), "b": drawn(rng, 40, 2, np.where(half, 0, 2))}
    (once,) = paired_errors(answers(probabilities, labels))
    many = {name: np.repeat(p, 30, axis=1) for name, p in probabilities.items()}
    units = tuple(np.repeat([f"{i:02d}" for i in range(40)], 30))
    (frames,) = paired_errors(answers(many, np.repeat(labels, 30), units))
    (images,) = paired_errors(answers(many, np.repeat(labels, 30)))
    assert frames.gain == pytest.approx(once.gain) and once.gain > 0
    assert frames.p == once.p > 10 * images.p
    assert (frames.low, frames.high) == pytest.approx((once.low, once.high))
    assert images.high - images.low < 0.5 * (once.high - once.low)


def test_a_gain_of_none_on_every_image_is_not_known_for_sure():
    """Of N images none that gains leaves room for a share of z^2 / (N + z^2), as in Wilson's interval."""
    labels = np.zeros(108, np.int64)
    right = np.tile(np.arange(108) < 90, (2, 1))
    (pair,) = paired_errors(answers({"a": sure(right, labels), "again": sure(right, labels)}, labels))
    room = 1.96**2 / (108 + 1.96**2)
    assert (pair.gain, pair.low, pair.high) == pytest.approx((0, -room, room), abs=1e-4)
    groups = tuple(f"{i // 2}" for i in range(108))
    (pair,) = paired_errors(answers({"a": sure(right, labels), "again": sure(right, labels)}, labels, groups))
    assert pair.high == pytest.approx(1.96**2 / (54 + 1.96**2), abs=1e-4)
