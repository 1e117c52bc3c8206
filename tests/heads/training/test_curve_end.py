"""Whether a curve still gets better at its end: planted curves, with the noise that real ones have."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from heads.training.curve_end import still_improving
from heads.training.trained_head import EpochRow, TrainedHead

EPOCHS = np.arange(50)
SLOW = 1.4 * np.exp(-EPOCHS / 60)  # falls by 15% in its last ten epochs
FLAT = 0.4 + 1.0 * np.exp(-EPOCHS / 4)
OVERFITTED = 0.4 + np.abs(EPOCHS - 15) / 50
CREEPS = 1.38 - 0.001 * EPOCHS  # by less than 1% in ten epochs, but without end
RIGHT = 0.02 * np.exp(-EPOCHS / 60)  # nearly every image is right


def trained(losses: NDArray[np.float64], noise: float = 0.0, seed: int = 0, by_loss: bool = False) -> TrainedHead:
    """A head with this loss on val, whose accuracy follows it as far as noise lets it."""
    rng = np.random.default_rng(seed)
    losses = losses * (1 + noise * rng.normal(size=len(losses)))
    head = TrainedHead(seed)
    for epoch, loss in enumerate(losses.tolist()):
        right = float(np.exp(-loss) + noise * rng.normal())
        head.note(EpochRow(epoch, loss, right, loss, right, 1.0, 1e-4, 0.1), "val_loss" if by_loss else "val_top1")
    return head


@pytest.mark.parametrize(
    ("losses", "expected"),
    [(SLOW, True), (FLAT, False), (OVERFITTED, False), (RIGHT, False), (0.6 - 0.002 * EPOCHS, True), (CREEPS, True)],
)
@pytest.mark.parametrize("by_loss", [True, False])
def test_planted_curves(losses: NDArray[np.float64], expected: bool, by_loss: bool) -> None:
    assert still_improving([trained(losses, by_loss=by_loss)], 50) is expected


def test_noise_is_not_taken_for_a_trend() -> None:
    flat = [still_improving([trained(FLAT, 0.02, seed, by_loss=True)], 50) for seed in range(300)]
    assert sum(flat) <= 3
    slow = [still_improving([trained(SLOW, 0.02, seed, by_loss=True)], 50) for seed in range(300)]
    assert sum(slow) >= 290


def test_more_than_half_of_the_heads_say_it() -> None:
    slow, flat = trained(SLOW), trained(FLAT)
    assert still_improving([slow, slow, flat], 50)
    assert not still_improving([slow, flat], 50)
    assert not still_improving([slow, flat, flat], 50)


def test_a_curve_that_patience_ended_or_that_is_short_says_nothing() -> None:
    assert not still_improving([trained(SLOW[:40])], 50)
    assert not still_improving([trained(np.linspace(1.4, 0.4, 9))], 9)
    assert still_improving([trained(np.linspace(1.4, 0.4, 10))], 10)
    diverged = trained(SLOW)
    diverged.diverged = 49
    assert not still_improving([diverged], 50)
