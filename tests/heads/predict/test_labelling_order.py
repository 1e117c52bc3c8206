"""What is worth labelling is found among any number of images, of which few are held."""

from __future__ import annotations

import numpy as np

from featcache.places import NoPlace
from heads.predict import AskedImage, Prediction, most_worth_labelling

IMAGE = AskedImage("a.jpg", NoPlace("a.jpg", "nowhere"))


def prediction(sha256: str, top: float) -> Prediction:
    return Prediction(IMAGE, sha256, np.array([top, 1 - top]), np.zeros(4, np.float32))


def test_the_closest_calls_come_first_each_content_once_and_hold_no_features() -> None:
    every = [prediction("sure", 0.99), prediction("b", 0.6), Prediction(IMAGE, "torn", reason="torn")]
    every += [prediction("a", 0.52), prediction("a", 0.52), prediction("c", 0.3)]
    found = most_worth_labelling(iter(every), 3, "margin")
    assert [one.sha256 for one in found] == ["a", "b", "c"]
    assert all(one.features is None for one in found)  # of a million images they would fill the memory
    assert [one.sha256 for one in most_worth_labelling(iter(every), 9, "entropy")] == ["a", "b", "c", "sure"]
