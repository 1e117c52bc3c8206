"""Limits of one figure: equal to the textbook's where that has one, and never of width zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, norm, t

from featcache.statistics import Scores, figure_interval, wilson


def scores(values: np.ndarray, bounded: bool = True, units: tuple[str, ...] | None = None) -> Scores:
    return Scores(values.astype(np.float64), units or tuple(map(str, range(values.shape[1]))), bounded)


@pytest.mark.parametrize(("right", "images"), [(50, 50), (0, 50), (163, 168), (1, 7), (300, 500)])
def test_one_seed_has_the_score_interval_of_scipy(right: int, images: int) -> None:
    expected = binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert figure_interval(scores(np.arange(images)[None] < right)) == pytest.approx((expected.low, expected.high))
    assert wilson(right / images, images) == pytest.approx((expected.low, expected.high))


def test_seeds_that_agree_add_nothing_and_seeds_that_do_not_narrow_it() -> None:
    one = np.arange(200)[None] < 160
    low, high = figure_interval(scores(one))
    assert figure_interval(scores(np.repeat(one, 3, axis=0))) == pytest.approx((low, high))
    rng = np.random.default_rng(0)  # three seeds with errors of their own are as good as three times the images
    widths = [np.diff(figure_interval(scores(rng.random((3, 200)) < 0.8)))[0] for _ in range(50)]
    assert np.quantile(widths, 0.3) == pytest.approx((high - low) / np.sqrt(3), rel=0.15)  # more where they differ more


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 30), st.integers(2, 6))
def test_copies_within_a_unit_say_nothing_more(seed: int, seeds: int, images: int, copies: int) -> None:
    """Neither of which images were drawn, nor of what of the seeds' spread is their luck with single images."""
    right = np.random.default_rng(seed).random((seeds, images)) < 0.7
    alone = scores(right)
    copied = scores(np.repeat(right, copies, axis=1), units=tuple(str(i // copies) for i in range(images * copies)))
    for part in ("mean", "image_variance", "between_seeds", "within_seeds"):
        assert getattr(copied, part) == pytest.approx(getattr(alone, part))
    assert figure_interval(copied)[0] == pytest.approx(figure_interval(alone)[0], abs=1e-6)


def test_a_seed_that_is_worse_on_every_image_widens_it() -> None:
    rng = np.random.default_rng(1)
    alike = rng.random((3, 2000)) < 0.8
    apart = rng.random((3, 2000)) < np.array([[0.7], [0.8], [0.9]])
    widths = [np.diff(figure_interval(scores(v)))[0] for v in (alike, apart)]
    assert widths[1] > 4 * widths[0]


def covers(seeds: int, luck: float, boards: int = 300, images: int = 400) -> float:
    """How often the interval holds an accuracy of 0.9 that each seed misses by `luck` in the mean."""
    rng = np.random.default_rng(seeds)
    hard = norm.ppf(0.9)
    found = []
    for _ in range(boards):
        shift = norm.ppf(0.9 + luck * rng.standard_normal((seeds, 1))) - hard
        margin = hard + shift - np.sqrt(0.5) * (rng.standard_normal(images) + rng.standard_normal((seeds, images)))
        low, high = figure_interval(scores(margin > 0))
        found.append(low <= 0.9 <= high)
    return float(np.mean(found))


@pytest.mark.parametrize("luck", [0.0, 0.027])
@pytest.mark.parametrize("seeds", [3, 5])
def test_it_covers_the_truth_also_where_few_seeds_differ_much(seeds: int, luck: float) -> None:
    """Three that differ so: if their spread counts as known, 88%."""
    assert 0.92 <= covers(seeds, luck) <= 0.98


def test_seeds_that_differ_as_single_images_make_them_add_nothing() -> None:
    """Three seeds that are right equally often, on images that differ."""
    right = np.ones((3, 60))
    for seed in range(3):
        right[seed, 4 * seed : 4 * seed + 6] = 0
    one = scores(right)
    alike = wilson(0.9, 0.09 / one.image_variance)
    assert figure_interval(one) == pytest.approx(alike)
    right[0, 30:40] = 0
    assert np.diff(figure_interval(scores(right)))[0] > 2 * np.diff(alike)[0]


def test_images_of_a_group_count_once() -> None:
    right = np.random.default_rng(2).random((1, 50)) < 0.7
    frames = tuple(f"video{i // 10}" for i in range(500))
    alone = figure_interval(scores(right))
    assert figure_interval(scores(np.repeat(right, 10, axis=1), units=frames)) == pytest.approx(alone)


def test_a_loss_has_the_interval_of_student() -> None:
    losses = np.random.default_rng(3).exponential(size=(1, 40))
    low, high = figure_interval(scores(losses, bounded=False))
    half = t.ppf(0.975, 39) * losses.std() / np.sqrt(40)
    assert (low, high) == pytest.approx((losses.mean() - half, losses.mean() + half))


def test_no_run_is_surer_than_if_each_of_its_answers_were_of_another_image() -> None:
    """Each seed errs on another of ten images: by chance their errors lie as evenly as they can."""
    right = np.ones((3, 10))
    right[range(3), range(3)] = 0
    assert figure_interval(scores(right)) == pytest.approx(wilson(0.9, 30))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 30))))
def test_whatever_the_sample_the_limits_hold_the_figure_and_are_apart(values: np.ndarray) -> None:
    low, high = figure_interval(scores(values))
    assert 0 <= low <= values.mean() + 1e-12
    assert values.mean() - 1e-12 <= high <= 1
    assert high - low > 0.02


def test_the_limits_of_a_log_loss_do_not_pass_0_and_hold_the_true_loss() -> None:
    """Confident heads: most images cost nearly nothing, few cost much."""
    rng = np.random.default_rng(4)
    held, symmetric = 0, 0
    for _ in range(400):
        losses = rng.lognormal(-3, 1.5, (1, 60))
        low, high = figure_interval(Scores(-losses, tuple(map(str, range(60))), bounded=False, loss=True))
        assert low < -losses.mean() < high < 0
        truth = -np.exp(-3 + 1.5**2 / 2)
        held += low < truth < high
        half = t.ppf(0.975, 59) * losses.std() / np.sqrt(60)
        symmetric += abs(losses.mean() + truth) < half
    assert held > symmetric  # of so skewed a loss either covers less than 95%
    few = figure_interval(Scores(-np.array([[0.001, 0.001, 2.0]]), ("a", "b", "c"), bounded=False, loss=True))
    assert few[1] < 0


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("images", [7, 42, 56, 168, 1000])
def test_all_right_ends_at_1_and_all_wrong_begins_at_0_exactly(seeds: int, images: int) -> None:
    assert figure_interval(scores(np.ones((seeds, images))))[1] == 1.0
    assert figure_interval(scores(np.zeros((seeds, images))))[0] == 0.0
