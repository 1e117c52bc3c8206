"""Kendall's tau of a measure and the heads: against scipy and a count of pairs; whether its interval keeps its word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from heads.leaderboard.measure_agreement import FEWEST, Agreement, agreement

COVERAGE = 400  # samples: a share of 0.95 is known to 0.02
QUICK = settings(deadline=None, max_examples=50, derandomize=True)


def of(scores: Sequence[float | None], accuracies: Sequence[float]) -> Agreement:
    found = agreement("logme", scores, accuracies)
    assert found is not None
    return found


def tau_b(scores: Sequence[float], accuracies: Sequence[float]) -> float:
    """Kendall 1945, pair by pair."""
    both = one = other = 0
    for (a, x), (b, y) in combinations(zip(scores, accuracies, strict=True), 2):
        both += int(np.sign(a - b) * np.sign(x - y))
        one += a != b
        other += x != y
    return both / math.sqrt(one * other)


FEW = st.integers(0, 4).map(float)  # few values: many ties


@QUICK
@given(st.lists(st.tuples(FEW, FEW), min_size=FEWEST, max_size=14))
def test_it_is_tau_b_with_ties(pairs: list[tuple[float, float]]) -> None:
    scores, accuracies = zip(*pairs, strict=True)
    if len(set(scores)) == 1 or len(set(accuracies)) == 1:
        assert agreement("logme", scores, accuracies) is None
        return
    found = of(scores, accuracies)
    assert found.tau == pytest.approx(tau_b(scores, accuracies), abs=1e-12)
    assert found.tau == pytest.approx(kendalltau(scores, accuracies).statistic)
    assert -1 <= found.low <= found.tau <= found.high <= 1
    assert found.high - found.low > 0.1  # so few networks leave much open
    assert (found.measure, found.n) == ("logme", len(pairs))


@QUICK
@given(st.lists(st.tuples(FEW, FEW), min_size=FEWEST, max_size=10))
def test_a_measure_turned_round_agrees_as_much_the_other_way(pairs: list[tuple[float, float]]) -> None:
    scores, accuracies = zip(*pairs, strict=True)
    one, other = agreement("logme", scores, accuracies), agreement("logme", [-s for s in scores], accuracies)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert (other.tau, other.low, other.high) == pytest.approx((-one.tau, -one.high, -one.low))


def test_only_the_order_matters() -> None:
    rng = np.random.default_rng(0)
    scores, accuracies = rng.normal(size=9), rng.uniform(size=9)
    one, other = of(list(scores), list(accuracies)), of(list(np.exp(3 * scores)), list(accuracies**2))
    assert (one.tau, one.low, one.high) == (other.tau, other.low, other.high)


@pytest.mark.parametrize("n", [5, 8, 12, 30])
def test_the_same_order_leaves_room_for_luck(n: int) -> None:
    found = of(range(n), [i / 50 for i in range(n)])
    assert (found.tau, found.high) == (pytest.approx(1), pytest.approx(1))
    assert found.low < 1
    turned = of(range(n), [-i / 50 for i in range(n)])
    assert (turned.tau, turned.low) == (pytest.approx(-1), pytest.approx(-1))
    assert turned.high > -1


def test_more_networks_say_more() -> None:
    widths = []
    for n in (6, 12, 24):
        accuracies = [i + (3 if i % 2 else 0) for i in range(n)]  # neighbours change places
        found = of(range(n), accuracies)
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("tau", [0.0, 0.5])
@pytest.mark.parametrize("n", [8, 12])
def test_the_interval_holds_the_truth_as_often_as_it_says(n: int, tau: float) -> None:
    assert coverage(n, tau) >= 0.9


@pytest.mark.parametrize("n", [8, 12])
def test_without_any_agreement_luck_is_seldom_taken_for_it(n: int) -> None:
    found = [of(*pair) for pair in normals(n, 0.0)]
    assert np.mean([one.low > 0 for one in found]) <= 0.05  # 0.025 by the book
    assert np.mean([one.high < 0 for one in found]) <= 0.05


def coverage(n: int, tau: float) -> float:
    return float(np.mean([one.low <= tau <= one.high for one in (of(*pair) for pair in normals(n, tau))]))


def normals(n: int, tau: float) -> list[tuple[list[float], list[float]]]:
    """Samples of n of two normal variables, whose tau is 2 / pi arcsin of their correlation (Greiner 1909)."""
    rho, rng = math.sin(math.pi * tau / 2), np.random.default_rng(n)
    a, b = rng.normal(size=(2, COVERAGE, n))
    return list(zip(a.tolist(), (rho * a + math.sqrt(1 - rho**2) * b).tolist(), strict=True))


def test_networks_without_a_score_do_not_count() -> None:
    scores: list[float | None] = [1, None, 2, 3, None, 4, 0]
    accuracies = [0.1, 0.9, 0.2, 0.3, 0.0, 0.5, 0.4]
    found = of(scores, accuracies)
    assert found.n == 5
    assert found.tau == pytest.approx(tau_b([1, 2, 3, 4, 0], [0.1, 0.2, 0.3, 0.5, 0.4]))


@pytest.mark.parametrize(
    ("scores", "accuracies"),
    [
        ([], []),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]),  # too few
        ([1, 2, 3, 4, None, None], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ([None] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ([2] * 6, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),  # nothing to order
        ([1, 2, 3, 4, 5, 6], [0.5] * 6),
        ([1, 2, 3, 4, 5, None], [0.5, 0.5, 0.5, 0.5, 0.5, 0.6]),  # equal among those with a score
    ],
)
def test_what_says_nothing_has_none(scores: list[float | None], accuracies: list[float]) -> None:
    assert agreement("logme", scores, accuracies) is None
