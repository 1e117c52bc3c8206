"""Small products stay on one thread, large ones have all, and nothing is left changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from featcache.places import FilePlace
from featcache.records import ImageRecord
from featcache.separability import LabelledFeatures, Measure, measure_separability, nested_logistic, probe_logistic
from featcache.separability.logistic_regression import LogisticProblems
from featcache.separability.small_products import few_threads


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_threads_are_by_the_size_of_the_work_and_given_back() -> None:
    assert threads() == {2}
    with few_threads(100, 100):
        assert threads() == {1}
    assert threads() == {2}
    with few_threads(101, 100):
        assert threads() == {2}
    with pytest.raises(ValueError, match="inside"), few_threads(1, 100):
        raise ValueError("inside")
    assert threads() == {2}


@pytest.mark.parametrize(("most", "expected"), [(10**9, {1}), (10, {2})])
def test_measures_of_few_images_take_one_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int, expected: set[int]
) -> None:
    seen: list[set[int]] = []

    def score(labelled: LabelledFeatures) -> float:
        seen.append(threads())
        return 0.5

    monkeypatch.setattr("featcache.separability.remembered.measures", lambda: {"seen": Measure("seen", "", score, "")})
    monkeypatch.setattr("featcache.separability.remembered.SMALL", most)
    images = [ImageRecord(FilePlace(f"{i}.png"), f"{i}.png", f"{i:064d}", i % 2, "train") for i in range(8)]
    features = np.random.default_rng(0).random((8, 3), np.float32)
    assert measure_separability(images, [{}], lambda some: features[: len(some)], tmp_path).figures["seen"] == 0.5
    assert seen == [expected]
    assert threads() == {2}


@pytest.mark.parametrize(("most", "expected"), [(10**8, {1}), (10, {2})])
def test_a_logistic_fit_of_few_images_takes_one_thread(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: set[int]
) -> None:
    """A thousand products of 5 million multiply-adds took 40 s with two threads that spin, half a second with one."""
    seen: list[set[int]] = []
    fit = LogisticProblems.fit

    def watched(self: LogisticProblems, *arguments: np.ndarray) -> np.ndarray:
        seen.append(threads())
        return fit(self, *arguments)

    monkeypatch.setattr(LogisticProblems, "fit", watched)
    monkeypatch.setattr(nested_logistic, "SMALL", most)
    features = np.random.default_rng(0).random((20, 3), np.float32)
    assert probe_logistic(features, np.arange(20) % 2) is not None
    assert len(seen) > 3 and all(one == expected for one in seen)
