"""The fit through a curve: planted numbers found again, honest limits, what it refuses and what it calls poor."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.errors import InputError
from heads.learning_curves.power_law import PowerLaw, fit_power_law

SIZES = np.array([4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048], np.float64)
V = 400
UNITS = np.arange(V)


def planted(a: float, b: float, c: float, seed: int, draws: int = 3, spread: float = 0.01) -> list[NDArray[np.float64]]:
    """Images that are right or wrong by the law: an image of difficulty u is right where u is below the accuracy, which
    each draw has with luck of its own."""
    rng = np.random.default_rng(seed)
    difficulty = rng.permutation((np.arange(V) + 0.5) / V)
    accuracy = a - b * SIZES**-c
    return [(difficulty < acc + spread * rng.standard_normal((draws, 1))).astype(np.float64) for acc in accuracy]


def test_planted_numbers_are_found_again() -> None:
    for a, b, c in ((0.95, 0.8, 0.5), (0.8, 0.5, 0.3)):
        law = fit_power_law(SIZES, planted(a, b, c, seed=1, draws=8, spread=0.004), UNITS)
        assert law is not None
        assert law.a == pytest.approx(a, abs=0.03)
        assert law.c == pytest.approx(c, abs=0.08)
        assert law.b == pytest.approx(b, rel=0.15)
        assert not law.poor
        for n in (64, 2048, 4096):
            assert law.at(n) == pytest.approx(a - b * n**-c, abs=0.01)


def test_the_gain_of_doubling_lies_within_its_limits_about_as_often_as_they_say() -> None:
    a, b, c = 0.95, 0.8, 0.5
    truth = b * (2048**-c - 4096**-c)
    inside = 0
    for seed in range(20):
        law = fit_power_law(SIZES, planted(a, b, c, seed), UNITS)
        assert law is not None
        gain, low, high = law.gain(2)
        inside += low <= truth <= high
        assert low <= gain <= high < 0.1
    assert inside >= 16


def test_it_refuses_to_look_further_than_four_times() -> None:
    law = fit_power_law(SIZES, planted(0.9, 0.6, 0.4, seed=0), UNITS)
    assert law is not None
    assert law.at(8192) < 0.9
    with pytest.raises(InputError, match=r"8193 training images: the curve was measured up to 2048.*8192"):
        law.at(8193)


def test_a_curve_that_is_no_power_law_is_called_poor() -> None:
    def stepped(seed: int) -> PowerLaw | None:
        rng = np.random.default_rng(seed)
        difficulty = rng.permutation((np.arange(V) + 0.5) / V)
        levels = np.where(SIZES < 100, 0.5, 0.9)
        return fit_power_law(
            SIZES, [(difficulty < at + 0.003 * rng.standard_normal((3, 1))).astype(float) for at in levels], UNITS
        )

    law = stepped(0)
    assert law is not None and law.poor


def test_few_sizes_are_not_fitted() -> None:
    assert fit_power_law(SIZES[:4], planted(0.9, 0.6, 0.4, seed=0)[:4], UNITS) is None
