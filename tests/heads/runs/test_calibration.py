"""One temperature: found again where it was planted, finite where nothing is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from featcache.errors import RunError
from heads.runs import calibrate, calibration_of


@pytest.mark.parametrize("planted", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_planted_is_found(planted: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(logits, axis=1)])
    found = calibrate((logits * planted).astype(np.float32), labels)
    assert found.temperature == pytest.approx(planted, rel=0.06)
    assert found.images == 4000
    assert found.calibrated_loss <= found.loss + 1e-4


def test_where_every_image_is_right_probabilities_stay_below_one() -> None:
    logits = np.full((12, 3), -8, np.float32)
    labels = np.arange(12) % 3
    logits[np.arange(12), labels] = 8
    found = calibrate(logits, labels)
    worst = softmax(logits / found.temperature, axis=1).max()
    assert worst == pytest.approx(12 / 13 + 1 / 39, abs=1e-3)  # as if one more image of every class in equal parts


def test_where_nothing_is_told_apart_nothing_changes() -> None:
    found = calibrate(np.zeros((6, 3), np.float32), np.arange(6) % 3)
    assert found.loss == found.calibrated_loss == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {"temperature": 1.0},
        *({"temperature": t, "images": 9, "loss": 1.0, "calibrated_loss": 1.0} for t in (0, -1, float("nan"), "2")),
    ],
)
def test_what_is_no_temperature_is_refused(kept: Any, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"summary\.json: calibration is"):
        calibration_of(tmp_path, {"calibration": kept})
