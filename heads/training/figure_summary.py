"""What stands in summary.json of a metric: its mean over seeds and images, its spread, its 95% interval."""

from __future__ import annotations

from typing import Any

from featcache.statistics import Scores, figure_interval


def summarise(scores: Scores, *, negative: bool = False) -> dict[str, Any]:
    """Mean, spread over seeds, and the 95% interval of the mean (`featcache.statistics.figure_interval`); `negative`
    where scores have the sign of the metric turned, so that larger is better."""
    per_seed = scores.values.mean(axis=1)
    low, high = figure_interval(scores)
    return {
        "mean": 0.0 - scores.mean if negative else scores.mean,  # 0.0: never -0.0
        "std": float(per_seed.std(ddof=1)) if scores.seeds > 1 else 0.0,
        "ci95": [0.0 - high, 0.0 - low] if negative else [low, high],
        "n": scores.values.shape[1],
    }
