"""What is known of a figure that is a mean over classes: a rare class is unsure, however its few images turned out."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.statistics import Scores, figure_interval, wilson

COUNTS = np.array([31, 13, 5, 3, 1])
LABELS = np.repeat(np.arange(5), COUNTS)
WEIGHT = (53 / 5 / COUNTS)[LABELS]  # what an image that is right adds to balanced accuracy, times N


def balanced(right: np.ndarray) -> Scores:
    return Scores(right * WEIGHT, tuple(map(str, range(53))), strata=LABELS)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_variance_of_balanced_accuracy_is_right_in_the_mean(seeds: int) -> None:
    """Images of all classes are right in 80%, by one or by the mean over seeds that err on others."""
    rng = np.random.default_rng(seeds)
    found = [balanced(rng.random((seeds, 53)) < 0.8).image_variance for _ in range(400)]
    assert np.mean(found) == pytest.approx(0.16 / seeds * (1 / COUNTS).sum() / 25, rel=0.06)


def test_all_right_is_as_sure_as_the_rare_classes_allow() -> None:
    """A mean over classes of 31 to 1 images is as unsure as one over 15 images."""
    scores = balanced(np.ones((2, 53)))
    assert scores.mean == pytest.approx(1)
    assert scores.images == pytest.approx(25 / (1 / COUNTS).sum())
    assert figure_interval(scores) == pytest.approx(wilson(1.0, scores.images))
    assert figure_interval(scores)[0] < 0.81


def test_of_equal_classes_it_is_what_it_is_of_images() -> None:
    right = np.random.default_rng(0).random((2, 60)) < 0.8
    plain = Scores(right.astype(float), tuple(map(str, range(60))))
    classes = Scores(plain.values, plain.units, strata=np.repeat([0, 1, 2], 20))
    assert classes.mean == plain.mean
    assert classes.images == pytest.approx(plain.images)
    assert classes.image_variance == pytest.approx(plain.image_variance, rel=0.1)
