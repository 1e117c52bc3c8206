"""Probabilities that mean what they say: logits are divided by one temperature, fitted on validation images.

Source: Guo et al. 2017, "On calibration of modern neural networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from featcache.errors import RunError
from featcache.extraction import Indices
from heads.runs.predictions import predictions_of

COLDEST, HOTTEST = 0.05, 20.0  # of temperatures that are looked at


@dataclass(frozen=True)
class Calibration:
    """A temperature, the images that it was fitted on, and their mean log loss (nats) before and after."""

    temperature: float
    images: int
    loss: float
    calibrated_loss: float


def calibrate(logits: NDArray[np.float32], labels: Indices) -> Calibration:
    """The temperature by which the log loss of logits `[N, C]` is least on images of these labels `[N]`.

    One image more counts, in equal parts of every class (Perks 1947): where all images are right, the temperature
    would otherwise go to zero, and every probability to 1.
    """
    images, classes = logits.shape
    targets = np.full((images, classes), 1 / classes / (images + 1))
    targets[np.arange(images), labels] += images / (images + 1)

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    temperature = float(np.exp(found.x))
    before, after = (_log_loss(logits / t, labels) for t in (1.0, temperature))
    return Calibration(temperature, images, before, after)


def calibration_of(folder: Path, summary: dict[str, Any]) -> Calibration | None:
    """That of the head in the best_model.pth of the run in `folder`, by its validation images: with folds by the heads
    of its seed that did not train on them. A run of before has none in its summary: it is fitted now, or None where
    predictions.npz is not there or damaged."""
    if "calibration" in summary:
        return _checked(summary["calibration"], folder)
    seen = predictions_of(folder, "val")
    seeds = [one["seed"] for one in summary["seeds"]]
    if seen is None or len(seen.logits) != len(seeds) or not len(seen.labels):
        return None
    return calibrate(seen.logits[seeds.index(summary["best_seed"])], seen.labels)


def _checked(kept: Any, folder: Path) -> Calibration:
    """What a summary.json holds, which somebody may have written by hand."""
    try:
        found = Calibration(**kept)
        fine = bool(COLDEST <= found.temperature <= HOTTEST)
    except TypeError:
        fine = False
    if not fine:
        raise RunError(
            f"{folder / 'summary.json'}: calibration is {kept!r:.200}. Expected a temperature from {COLDEST} to "
            f"{HOTTEST} as `featcache train` writes it. Train the run again; predict and serve do "
            "without by --uncalibrated."
        )
    return found


def _log_loss(logits: NDArray[np.float32], labels: Indices) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
