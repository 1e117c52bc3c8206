"""Seconds that measures of separability and an audit take: `bin/bench separability --images 5000 --features 2048`."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.audit import audit
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest
from featcache.separability import (
    centroid_accuracy,
    effective_rank,
    fisher_ratio,
    gbc,
    h_score,
    intrinsic_dimension,
    knn_accuracy,
    linear_probe,
    logme,
    measure,
    parc,
    silhouette,
)

CLASSES = 4


def main() -> None:
    """Print the median over `--repeats` of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    x, labels = clusters(asked.images, asked.features)
    each: dict[str, Callable[[], object]] = {
        score.__name__: partial(score, x, labels)
        for score in (
            linear_probe,
            knn_accuracy,
            centroid_accuracy,
            logme,
            h_score,
            fisher_ratio,
            silhouette,
            parc,
            gbc,
        )
    }
    each["effective_rank"] = partial(effective_rank, x)
    each["intrinsic_dimension"] = partial(intrinsic_dimension, x)
    each["all of them (shared parts once)"] = partial(measure, x, labels)
    each["audit by one backbone"] = partial(audit, images(labels), {"one": x})
    print(f"{asked.images} images, {asked.features} features, {CLASSES} classes; medians of {asked.repeats}")
    for name, work in each.items():
        print(f"{name:<32} {statistics.median(seconds(work) for _ in range(asked.repeats)):6.2f} s")


def clusters(count: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features like pooled ones: not negative, correlated, one cluster for each class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    mix = rng.normal(size=(width, width)).astype(np.float32) * np.linspace(1, 0.01, width, dtype=np.float32)[:, None]
    centres = rng.normal(size=(CLASSES, width)).astype(np.float32) * 0.3
    latent = rng.normal(size=(count, width)).astype(np.float32) + centres[labels]
    return np.maximum(latent @ mix / np.float32(np.sqrt(width)) + 0.3, 0), labels


def images(labels: NDArray[np.int64]) -> Manifest:
    """A data set of as many different images, all in train but every tenth."""
    records = tuple(
        ImageRecord(FilePlace.at(f"{i}.png"), f"{i}.png", f"{i:064x}", int(label), "val" if i % 10 == 0 else "train")
        for i, label in enumerate(labels)
    )
    return Manifest("made", Path("made"), tuple("abcd"), records)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
