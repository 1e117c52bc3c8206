"""How long the measures take here: every one on some images, and for more by the arithmetic that they take."""

from __future__ import annotations

import time

import numpy as np

from featcache.separability.measures import LabelledFeatures, measures
from featcache.separability.remembered import MOST, SMALL
from featcache.separability.small_products import few_threads

TRIED = 400  # images


def measuring_seconds(images: int, features: int, classes: int) -> float:
    """Seconds to measure so many training images with so many features, told from planted classes with noise: the time
    grows with the multiply-adds of the smaller Gram matrix, of as many images as are looked at."""
    looked_at = min(images, MOST)
    tried = min(looked_at, TRIED)
    rng = np.random.default_rng(0)
    labels = np.arange(tried) % classes
    means = rng.standard_normal((classes, features), np.float32)
    values = np.maximum(rng.standard_normal((tried, features), np.float32) + 0.3 * means[labels], 0)
    begin = time.perf_counter()
    labelled = LabelledFeatures(values, labels, None)
    with few_threads(values.size * min(values.shape), SMALL):
        for one in measures().values():
            one.of(labelled)
    work = looked_at * min(looked_at, features) / (tried * min(tried, features))
    return (time.perf_counter() - begin) * work
