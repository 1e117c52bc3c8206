"""What the report says of one run: learning curves, calibration, most confident mistakes."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.records import ImageRecord
from heads.report.names_here import names_here
from heads.runs import Predictions, Run, predictions_of

BINS = 10  # of the reliability curve
MISTAKES = 12  # shown of each run
CURVES = ("train_loss", "val_loss", "val_top1")


@dataclass(frozen=True)
class Bin:
    """Validation images whose confidence lies in one tenth of 0 to 1."""

    confidence: float  # mean of the largest probability
    accuracy: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Reliability of the kept head on val, and its expected calibration error."""

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True)
class Mistake:
    """A validation image that the kept head gets wrong, and how sure it is of that."""

    image: str
    label: int
    predicted: int
    probability: float


@dataclass(frozen=True)
class Point:
    """One epoch of a curve: mean over the seeds (and folds) that reached it, and their range."""

    epoch: int
    curve: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Detail:
    """One run, looked at closely."""

    curves: tuple[Point, ...]
    calibration: Calibration | None  # None, as mistakes are none, where predictions.npz cannot be read
    mistakes: tuple[Mistake, ...]
    options: dict[str, Any]
    environment: dict[str, Any]


def detail(run: Run, images: Sequence[ImageRecord] = ()) -> Detail:
    """Read from the files of a run; what is damaged or absent stays empty. Its images are called as those of `images`
    that have their contents: runs may be on other sources of the same images."""
    seen = predictions_of(run.folder, "val")
    if seen is not None and seen.contents is not None:
        seen = replace(seen, images=names_here(seen.images, seen.contents, images))
    place = _best_seed(run)
    probabilities = None if seen is None else softmax(seen.logits[min(place, len(seen.logits) - 1)])
    return Detail(
        curves=tuple(_curves(run.folder / "metrics.csv")),
        calibration=None if seen is None or probabilities is None else calibration(probabilities, seen.labels),
        mistakes=() if seen is None or probabilities is None else mistakes(probabilities, seen),
        options=_json(run.folder / "options.json"),
        environment=_json(run.folder / "environment.json"),
    )


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities `[N, C]` of logits `[N, C]`."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return found


def calibration(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Bins of equal width, and the error: mean gap between confidence and accuracy, weighted by images.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        Bin(float(confidence[here].mean()), float(right[here].mean()), int(here.sum()))
        for here in (number == b for b in range(BINS))
        if here.any()
    )
    error = sum(abs(b.confidence - b.accuracy) * b.n for b in bins) / len(labels)
    return Calibration(bins, error)


def mistakes(probabilities: NDArray[np.float64], seen: Predictions) -> tuple[Mistake, ...]:
    """The most confident ones first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != seen.labels)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return tuple(Mistake(seen.images[i], int(seen.labels[i]), int(predicted[i]), float(confidence[i])) for i in order)


def _best_seed(run: Run) -> int:
    """The place of the seed whose head is kept; on val each seed has one set of logits."""
    seeds: Sequence[dict[str, Any]] = run.summary["seeds"]
    return next(i for i, one in enumerate(seeds) if one["seed"] == run.summary["best_seed"])


def _curves(file: Path) -> list[Point]:
    by_epoch: dict[tuple[str, int], list[float]] = defaultdict(list)
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                for curve in CURVES:
                    value = float(row[curve])
                    if np.isfinite(value):
                        by_epoch[curve, int(row["epoch"])].append(value)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []
    return [
        Point(epoch, curve, float(np.mean(values)), min(values), max(values))
        for (curve, epoch), values in sorted(by_epoch.items())
    ]


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
