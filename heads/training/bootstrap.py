"""Means over seeds and images with their 95% intervals, by the percentile bootstrap."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000  # of the bootstrap: the 95% interval's ends move by about 1% of its width between seeds


def resampled_means(values: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """The mean of `values` `[seeds, images]` in each of RESAMPLES draws of seeds and images with replacement.

    The percentile bootstrap (Efron 1979), of both the luck of the seed and that of the images. Every call draws the
    same images, so the difference of two results is that of a paired bootstrap; `stream` is of the seeds' draws, which
    two networks do not share.
    """
    seeds, images = values.shape
    by_seed = np.concatenate([values @ draws.T for draws in np.array_split(_image_draws(images), 20)], axis=1) / images
    chosen = np.random.default_rng([seeds, stream]).multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    means: NDArray[np.float64] = (by_seed.T * chosen).sum(axis=1) / seeds
    return means


@lru_cache(maxsize=4)
def _image_draws(images: int) -> NDArray[np.uint16]:
    """How often each image is drawn, `[RESAMPLES, images]`."""
    rng = np.random.default_rng(images)
    drawn = (np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(RESAMPLES))
    return np.stack([d.astype(np.uint16) for d in drawn])


def interval(means: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of resampled means, or of the difference of two."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarise(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, spread over seeds, and the 95% interval of the mean, of `values` `[seeds, images]`."""
    per_seed = values.mean(axis=1)
    seeds, images = values.shape
    return {
        "mean": float(per_seed.mean()),
        "std": float(per_seed.std(ddof=1)) if seeds > 1 else 0.0,
        "ci95": list(interval(resampled_means(values))),
        "n": images,
    }
