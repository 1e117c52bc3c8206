"""The 95% interval of a point of a curve: few draws of training images, and the luck of the images it is judged on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from featcache.statistics import Scores, wilson

TAIL = 0.025

Values = NDArray[np.float64]


def point_interval(scores: Scores) -> tuple[float, float]:
    """The limits of the mean of `scores.values` `[D, V]`, of D draws on V images.

    Draws and units of images are independent, so variances add. That of so few draws is itself unsure: Student's t with
    the degrees of freedom of Satterthwaite (1946), in Wilson's interval for a share, with as many images as would be as
    sure. What draws differ by because single images fall out differently counts in both: that errs to the wide side.
    """
    draws, units = scores.seeds, len(set(scores.units))
    of_images, of_draws = scores.image_variance, scores.between_seeds / draws
    variance = of_images + of_draws
    if variance <= 0:
        quantile = float(t.isf(TAIL, max(1, units - 1)))
        return wilson(scores.mean, units, quantile) if scores.bounded else (scores.mean, scores.mean)
    spread = of_images**2 / max(1, units - 1) + of_draws**2 / max(1, draws - 1)
    quantile = float(t.isf(TAIL, max(1.0, variance**2 / spread)))
    if not scores.bounded:
        half = quantile * math.sqrt(variance)
        return scores.mean - half, scores.mean + half
    share = min(1.0, max(0.0, scores.mean))
    images = min(float(units * draws), share * (1 - share) / variance) if 0 < share < 1 else float(units)
    return wilson(share, max(images, 1e-9), quantile)


def difference_interval(scores: Scores) -> tuple[float, float]:
    """The limits of the mean of `scores.values` `[D, V]`, differences of two shares of right answers.

    Where no image is answered otherwise, the normal approximation has no width. Then so few discordant images are
    possible as the upper limit of Wilson's interval for none of so many units leaves, whichever way they fall.
    """
    if scores.values.any():
        return point_interval(scores)
    units = len(set(scores.units))
    _, most = wilson(0.0, units, float(t.isf(TAIL, max(1, units - 1))))
    return -most, most
