"""The interval of a point holds the truth as often as it says, with few draws and few images."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.statistics import Scores
from heads.learning_curves.curve_intervals import point_interval
from heads.learning_curves.held_out_epochs import held_out_values


@pytest.mark.parametrize(("of_draws", "images"), [(0.08, 200), (0.0, 60), (0.03, 60)])
def test_it_covers_the_accuracy_over_draws_and_images(of_draws: float, images: int) -> None:
    rng = np.random.default_rng(images)
    inside, worlds = 0, 400
    for _ in range(worlds):
        # Images of a mean accuracy of 0.8 that differ in how hard they are, and draws that move all of them.
        hard = np.clip(0.8 + 0.15 * rng.standard_normal(images), 0.5, 1.1)
        chance = np.clip(hard + of_draws * rng.standard_normal((3, 1)), 0, 1)
        values = (rng.random((3, images)) < chance).astype(np.float64)
        low, high = point_interval(Scores(values, tuple(map(str, range(images)))))
        inside += low <= 0.795 <= high
    assert inside / worlds >= 0.92


def test_it_is_never_of_width_zero_and_stays_between_0_and_1() -> None:
    low, high = point_interval(Scores(np.ones((3, 20)), tuple(map(str, range(20)))))
    assert 0.7 < low < 0.95
    assert high == 1.0


def test_an_epoch_chosen_without_an_image_does_not_flatter_it() -> None:
    rng = np.random.default_rng(0)
    best, held_out = [], []
    for _ in range(200):
        values = (rng.random((50, 40)) < 0.7).astype(np.float64)  # every epoch is as good as any other
        best.append(values.mean(axis=1).max())
        held_out.append(held_out_values(values, values, np.arange(40)).mean())
    assert np.mean(best) > 0.8
    assert np.mean(held_out) == pytest.approx(0.7, abs=0.02)


def test_an_epoch_that_is_plainly_best_is_the_one_of_every_image() -> None:
    values = np.zeros((5, 30))
    values[3] = np.arange(30) % 3 > 0
    assert held_out_values(values, values, np.arange(30) // 2).tolist() == values[3].tolist()
