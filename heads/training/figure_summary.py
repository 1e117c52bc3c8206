"""What stands in summary.json of a metric: its mean over seeds and images, its spread, its 95% interval."""

from __future__ import annotations

from typing import Any

from featcache.statistics import Scores, figure_interval, wilson

ROUNDING = 1e-15  # a variance of a mean that is rounding
SAME = 0.01  # of the figure: images that spread by less gave as good as the same


def summarise(scores: Scores, *, negative: bool = False) -> dict[str, Any]:
    """Mean, spread over seeds, and the 95% interval of the mean (`figure_limits`); `negative` where scores have the
    sign of the metric turned, so that larger is better."""
    per_seed = scores.values.mean(axis=1)
    low, high = figure_limits(scores)
    return {
        "mean": 0.0 - scores.mean if negative else scores.mean,  # 0.0: never -0.0
        "std": float(per_seed.std(ddof=1)) if scores.seeds > 1 else 0.0,
        "ci95": [0.0 - high, 0.0 - low] if negative else [low, high],
        "n": scores.values.shape[1],
    }


def figure_limits(scores: Scores) -> tuple[float, float]:
    """The 95% interval of a run's figure (`featcache.statistics.figure_interval`), also where it is no share and every
    image gave the same."""
    return no_narrower(scores.mean, figure_interval(scores), scores)


def no_narrower(mean: float, limits: tuple[float, float], scores: Scores) -> tuple[float, float]:
    """Limits of a figure, no narrower than N images (or groups) allow that all gave the same.

    None of N that is unlike the others leaves room for a share of z^2 / (N + z^2) that are (Wilson 1927; as the limits
    of a difference that no image tells). Each may be off by 1, a whole image or a nat, or by as much as the figure
    where that is more. A share has this in its own interval already.
    """
    images = len(set(scores.units))
    if scores.bounded or not scores.image_variance <= max(ROUNDING, (SAME * scores.mean) ** 2 / images):
        return limits
    half = wilson(0.0, images)[1] * max(1.0, abs(mean))
    low, high = min(limits[0], mean - half), max(limits[1], mean + half)
    return low, min(high, max(mean, 0.0)) if scores.loss else high
