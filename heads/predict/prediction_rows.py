"""A prediction as people read it: class, probability, the next likely ones, whether the image is like any seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heads.predict.predictor import Prediction


@dataclass(frozen=True)
class PredictionRow:
    """One image of the output; an unreadable one has a `reason` and nothing else."""

    image: str
    top: tuple[tuple[str, float], ...] = ()  # classes and their probabilities, the likeliest first
    as_far: float | None = None  # the share of validation images that are at least as far from the training ones
    unlike: bool | None = None  # whether that is less than the rate of false alarms that is allowed
    reason: str = ""

    @property
    def label(self) -> str | None:
        """The likeliest class."""
        return self.top[0][0] if self.top else None

    @property
    def probability(self) -> float | None:
        """Of the likeliest class."""
        return self.top[0][1] if self.top else None


def row_of(prediction: Prediction, classes: Sequence[str], top: int, false_alarms: float) -> PredictionRow:
    """The `top` likeliest classes; flagged as unlike where no more than `false_alarms` of the images would be."""
    name = prediction.image.name
    if prediction.probabilities is None:
        return PredictionRow(name, reason=prediction.reason)
    order = np.argsort(-prediction.probabilities, kind="stable")[:top]
    likeliest = tuple((classes[c], float(prediction.probabilities[c])) for c in order)
    unlike = None if prediction.as_far is None else prediction.as_far <= false_alarms
    return PredictionRow(name, likeliest, prediction.as_far, unlike)
