"""The figures of a split from what each head answered: every metric with its spread and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featcache.statistics import Scores
from heads.runs.predictions import Predictions
from heads.training import PARTS, ImageOutcomes, find_metric, summarise


def split_scores(seen: Predictions, outcomes: Sequence[ImageOutcomes], metric: str) -> Scores:
    """A metric of each head image by image, larger better; images of a group are one unit. Of a metric of the whole
    split it is what each image adds."""
    one = find_metric(metric)
    if one.name in PARTS:
        return Scores(np.stack([o.parts[one.name] for o in outcomes]), seen.units, strata=seen.labels)
    values = np.stack([o.values[one.name] for o in outcomes])
    scores = values if one.larger_is_better else -values
    loss = not one.larger_is_better and one.limits[0] == 0
    return Scores(scores, seen.units, bounded=one.limits == (0.0, 1.0), loss=loss)


def split_figures(seen: Predictions, outcomes: Sequence[ImageOutcomes]) -> dict[str, Any]:
    """Mean, spread over seeds and 95% interval of every metric, by its name."""
    found = {}
    for metric in outcomes[0].values:
        scores = split_scores(seen, outcomes, metric)
        found[metric] = summarise(scores, negative=not find_metric(metric).larger_is_better)
    return found
