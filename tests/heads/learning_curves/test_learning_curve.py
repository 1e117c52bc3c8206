"""What a curve says of its classes and of wrong labels: planted rises and losses are found, chance is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from heads.learning_curves.curve_text import curve_sentence, noise_sentence
from heads.learning_curves.learning_curve import LearningCurve, learning_curve
from heads.learning_curves.measured_heads import MeasuredHeads
from heads.learning_curves.training_subsets import Size

IMAGES = [4.0, 8.0, 16.0, 32.0, 64.0]
SIZES = [Size(f"{n:.0f}", None, (1, 1, 1)) for n in IMAGES]
OF_EACH = 100  # val images of each class


def curve(
    recalls: list[tuple[float, float, float]], counts: tuple[int, int, int], noisy: float | None = None, seed: int = 0
) -> LearningCurve:
    """A backbone with these recalls of three classes at each size, and with `noisy` such an accuracy under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(3).repeat(OF_EACH)

    def right(chance: np.ndarray) -> np.ndarray:
        return (rng.random((3, len(labels))) < chance).astype(np.float64)

    values = {(size, 0.0): right(np.array(one)[labels]) for size, one in enumerate(recalls)}
    if noisy is not None:
        values[len(IMAGES) - 1, 0.2] = right(np.full(len(labels), noisy))
    measured = MeasuredHeads(
        "it", "net", {("val", "top1"): values}, {"val": labels}, {"val": np.arange(len(labels))}, 15, 0
    )
    return learning_curve(measured, SIZES, IMAGES, dict(zip("abc", counts, strict=True)))


def test_the_class_whose_recall_still_rises_is_the_scarcest_whatever_its_count() -> None:
    found = curve([(0.9, 0.9, 0.3)] * 4 + [(0.9, 0.9, 0.7)], (10, 40, 40))
    assert found.scarcest is not None
    assert found.scarcest.name == "c"
    assert found.scarcest.rise == pytest.approx(0.4, abs=0.12)
    assert "labels of 'c' are the scarcest (40 of them; its recall rose by" in curve_sentence(found)


def test_without_a_rise_it_is_the_class_with_the_fewest_images_if_it_is_short_of_them() -> None:
    flat = [(0.8, 0.8, 0.8)] * 5
    assert "labels of 'a' are the scarcest (10 of them)" in curve_sentence(curve(flat, (10, 40, 40)))
    assert "no class's labels are scarcer" in curve_sentence(curve(flat, (35, 40, 40)))


def test_chance_alone_is_seldom_taken_for_a_rise() -> None:
    flat = [(0.8, 0.6, 0.7)] * 5
    assert sum(any(n.certain for n in curve(flat, (40, 40, 40), seed=seed).needs) for seed in range(60)) <= 8


def test_a_head_that_says_one_class_only_has_no_gain_and_no_width_of_zero() -> None:
    labels = np.arange(3).repeat(OF_EACH)
    right = np.tile((labels == 0).astype(np.float64), (3, 1))
    values = {**{(size, 0.0): right for size in range(5)}, (4, 0.2): right}
    units = {"val": np.arange(len(labels))}
    measured = MeasuredHeads("it", "net", {("val", "top1"): values}, {"val": labels}, units, 15, 0)  # type: ignore[arg-type]
    found = learning_curve(measured, SIZES, IMAGES, {"a": 40, "b": 20, "c": 20})
    said = curve_sentence(found)
    assert "it: no gain by more training images is seen: val top-1 is 0.333 [0.2" in said
    assert "not told from always saying the most frequent class (0.333)" in said
    assert found.lost is not None and found.lost.mean == 0
    assert -0.03 < found.lost.low < -0.005 and 0.005 < found.lost.high < 0.03  # about 3.84 of 300 images
    assert "most frequent class" not in curve_sentence(curve([(0.9, 0.9, 0.9)] * 5, (40, 20, 20)))


def test_a_falling_curve_buys_nothing_and_one_size_is_a_size() -> None:
    falling = curve([(0.9 - 0.1 * s,) * 3 for s in range(5)], (40, 40, 40))
    assert "no gain by more training images is seen" in curve_sentence(falling)
    assert "1 size, and 5 are wanted" in curve_sentence(replace(falling, law=None, points=falling.points[-1:]))


def test_what_wrong_labels_cost_has_an_interval_that_holds_it() -> None:
    flat = [(0.9, 0.9, 0.9)] * 5
    found = [curve(flat, (40, 40, 40), noisy=0.8, seed=seed).lost for seed in range(30)]
    assert sum(lost is not None and lost.low <= 0.1 <= lost.high for lost in found) >= 27
    sentence = noise_sentence([curve(flat, (40, 40, 40), noisy=0.8)])
    assert sentence is not None and sentence.startswith("20% wrong training labels cost (val top-1): it 0.")
    assert noise_sentence([curve(flat, (40, 40, 40))]) is None
