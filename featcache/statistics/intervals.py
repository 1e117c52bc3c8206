"""Honest limits of one figure: never a width of zero, whatever the sample."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm, t

from featcache.statistics.scores import Scores

CONFIDENCE = 0.95
MOST_TIMES = 50.0  # in logarithms: that an end of a loss is from its figure
EDGE = 1e-12  # a share so near 0 or 1 is rounding
Z95 = float(norm.ppf(0.5 + CONFIDENCE / 2))


def wilson(share: float, n: float, z: float = Z95) -> tuple[float, float]:
    """The score interval (Wilson 1927) of a share of `n` images; sound near 0 and 1: 50 of 50 right give [0.929, 1]."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(0.0, share * (1 - share)) / n + (z / (2 * n)) ** 2)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return 0.0 if share <= EDGE else low, 1.0 if share >= 1 - EDGE else high  # exactly, where rounding has other ideas


def effective_images(share: float, variance: float, images: float, most: float) -> float:
    """How many independent images would make a share as sure as it is (Korn and Graubard 1998): seeds that agree add
    little, groups take away. All right or all wrong has no spread, and counts as the images that it is. More than the
    `most` independent answers that there are it cannot be, however evenly errors happen to fall on few images."""
    if variance <= 0 or not 0 < share < 1:
        return images
    return min(most, share * (1 - share) / variance)


def figure_interval(scores: Scores) -> tuple[float, float]:
    """The 95% interval of a run's figure over seeds and images.

    Of a figure between 0 and 1 that of Wilson with the effective number of images, else Student's t; of a loss on the
    log scale, so that no end passes 0. With one seed it is of the images' luck alone.

    Half its width is that of the images' luck and that of the seeds', added in squares (Howe 1974): the spread of S
    seeds is known from S alone, so theirs is Student's t of S - 1 degrees of freedom. One t for both, with
    Satterthwaite's (1946) degrees of freedom, would be narrower, but it covers 88% where two seeds differ much.
    """
    images = len(set(scores.units))
    of_images = scores.image_variance
    if scores.bounded:
        variance = of_images + (_half_of_seeds(scores) / Z95) ** 2
        return wilson(scores.mean, effective_images(scores.mean, variance, scores.images, scores.images * scores.seeds))
    half = math.hypot(student(Z95, images) * math.sqrt(of_images), _half_of_seeds(scores))
    return unbounded_interval(scores.mean, half, loss=scores.loss)


def _half_of_seeds(scores: Scores) -> float:
    """Half the width that the luck of whole seeds adds: 0 where they differ by no more than single images make as many
    seeds differ in half of the cases."""
    freedom = scores.seeds - 1
    if not freedom:
        return 0.0
    beyond = scores.between_seeds - scores.within_seeds * float(chi2.median(freedom)) / freedom
    return float(t.ppf(0.5 + CONFIDENCE / 2, freedom)) * math.sqrt(max(0.0, beyond) / scores.seeds)


def unbounded_interval(mean: float, half: float, *, loss: bool) -> tuple[float, float]:
    """The limits of a figure from half their width. Those of a loss (sign turned, so below 0) are of its logarithm, by
    the delta method: a log loss is skewed, and never passes 0."""
    if not loss or mean >= 0:
        return mean - half, mean + half
    times = math.exp(min(half / -mean, MOST_TIMES))
    return mean * times, mean / times


def student(z: float | NDArray[np.float64], images: int) -> float:
    """The quantile of Student's t for so many images that is as rare as `z` of the normal distribution."""
    return float(t.isf(norm.sf(z), max(1, images - 1)))
