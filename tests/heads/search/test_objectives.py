"""The number that a sampler follows orders trials as people would."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.search.objectives import Figures, Seen, figures


def seen(outcomes: int, right1: int, right3: int, loss: float) -> Figures:
    one = Seen(0, outcomes, right1 / outcomes, right3 / outcomes, loss)
    return figures([one], latency_ms=1.5, macs=10, params=20)


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, float]]]:
    """Counts of two trials on as many images: right among three, right at once, and a loss such counts can have."""
    n = draw(st.integers(1, 20_000))
    trials = []
    for _ in range(2):
        right3 = draw(st.integers(0, n))
        right1 = draw(st.integers(0, right3))
        least = (n - right1) * math.log(2) / n  # another class is at least as probable as the right one
        trials.append((right3, right1, least + draw(st.integers(0, 20_000)) / 1000))
    return n, trials


@settings(max_examples=400, deadline=None)
@given(outcomes())
def test_top3_then_top1_then_loss(drawn: tuple[int, list[tuple[int, int, float]]]) -> None:
    n, ((a3, a1, a_loss), (b3, b1, b_loss)) = drawn
    a, b = seen(n, a1, a3, a_loss), seen(n, b1, b3, b_loss)
    for objective, first, second in (
        ("val_top3", (a3, a1, -a_loss), (b3, b1, -b_loss)),
        ("val_top1", (a1, -a_loss), (b1, -b_loss)),
    ):
        assert (a.value(objective) > b.value(objective)) == (first > second)
        assert (a.value(objective) == b.value(objective)) == (first == second)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20_000), st.floats(0, 1e300), st.data())
def test_ties_are_broken_by_less_than_one_outcome(n: int, loss: float, data: st.DataObject) -> None:
    right3 = data.draw(st.integers(0, n))
    right1 = data.draw(st.integers(0, right3))
    one = seen(n, right1, right3, loss)
    assert right3 / n * (1 - 1e-12) <= one.value("val_top3") <= (right3 + 1) / n * (1 + 1e-12)


def test_the_others_are_what_they_say() -> None:
    one = seen(10, 5, 8, 0.75)
    assert [one.value(o) for o in ("val_loss", "latency_ms", "macs", "params")] == [0.75, 1.5, 10.0, 20.0]


def test_figures_are_means_over_heads_and_folds_count_by_their_images() -> None:
    first = [Seen(0, 3, 1 / 3, 2 / 3, 1.0), Seen(0, 2, 1.0, 1.0, 2.0)]
    second = [Seen(1, 3, 1.0, 1.0, 0.5), Seen(1, 2, 0.0, 0.5, 3.0)]
    one = figures([*first, *second], latency_ms=1.0, macs=1, params=1)
    assert one.outcomes == 10
    assert one.val_top1 == (1 + 2 + 3 + 0) / 10
    assert one.val_top3 == (2 + 2 + 3 + 1) / 10
    assert one.val_loss == pytest.approx((3 * 1.0 + 2 * 2.0 + 3 * 0.5 + 2 * 3.0) / 10)
    assert one.val_top1_std == pytest.approx(0.0)  # 3 of 5 with either seed
    spread = figures([Seen(0, 4, 0.5, 1.0, 1.0), Seen(1, 4, 1.0, 1.0, 1.0)], latency_ms=1.0, macs=1, params=1)
    assert spread.val_top1_std == pytest.approx(math.sqrt(0.125))
    assert seen(7, 3, 5, 1.0).val_top1_std == 0.0
