"""What lies far from the training images, with planted features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from heads.predict import TrainingSpace

CPU = torch.device("cpu")


def space(train: np.ndarray, val: np.ndarray, val_names: tuple[str, ...] | None = None) -> TrainingSpace:
    names = tuple(f"t{i}" for i in range(len(train)))
    val_names = val_names or tuple(f"v{i}" for i in range(len(val)))
    return TrainingSpace.of(train, np.zeros(len(train), np.int64), (names, names), val, val_names, CPU)


def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    return (rng.standard_normal((n, 20)) + 1).astype(np.float32)


def test_distances_and_neighbours_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    train, images = drawn(rng, 60), drawn(rng, 9)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, images)]
    distances, places = NearestNeighbors(n_neighbors=4).fit(unit[0]).kneighbors(unit[1])
    found, far = space(train, images).nearest(images, 4)
    np.testing.assert_array_equal(found, places)
    np.testing.assert_allclose(far, distances, atol=1e-6)
    np.testing.assert_allclose(space(train, images).distances(images), distances[:, 0], atol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_of_images_like_the_validation_ones_no_more_are_flagged_than_allowed(rate: float) -> None:
    rng = np.random.default_rng(1)
    flagged = []
    for _ in range(300):
        train, val, images = (drawn(rng, n) for n in (40, 39, 20))
        flagged.append((space(train, val).shares_as_far(images) <= rate).mean())
    error = np.std(flagged) / np.sqrt(len(flagged))
    assert abs(np.mean(flagged) - rate) < 3 * error  # (39 + 1) x rate is whole, so it is the rate itself


def test_an_image_of_the_same_pool_is_not_its_own_neighbour() -> None:
    rng = np.random.default_rng(2)
    pool = drawn(rng, 50)
    names = tuple(f"t{i}" for i in range(50))
    shares = space(pool, pool, names).shares_as_far(drawn(rng, 400))
    assert 0.4 < shares.mean() < 0.6  # 0 if each were at distance 0 from itself


def test_few_validation_images_vouch_for_no_small_rate() -> None:
    rng = np.random.default_rng(3)
    small = space(drawn(rng, 10), drawn(rng, 4))
    assert small.least_rate == 0.2
    assert small.shares_as_far(-drawn(rng, 1)).tolist() == [0.2]
