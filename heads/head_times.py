"""How long heads take to train here, and their features to be measured: some epochs of the real loop, on noise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.extraction import CostEstimate, Indices
from featcache.options import Options
from featcache.separability import measuring_seconds
from heads.training import Features, Fold, HeadSpec, run_heads, train_heads

STEPS = 24  # of an epoch that is timed, at most
SECONDS = 0.5  # of epochs that one is told from
MOST_EPOCHS = 50


@dataclass(frozen=True)
class HeadsTime:
    """Seconds of stage two of one run, from features that are in the cache."""

    heads: int  # of all seeds and folds
    epochs: int  # of each, at most: training.patience may end it sooner
    training: float
    measuring: float  # how separable the features are

    @property
    def total(self) -> float:
        """All of it."""
        return self.training + self.measuring


def time_heads(options: Options, estimate: CostEstimate, device: torch.device) -> HeadsTime:
    """Of the heads of `options` on all features that `estimate` has."""
    folds = options.data.folds or 1
    heads = run_heads(options, estimate.dims, folds)
    epoch = epoch_seconds(heads, estimate, EpochSize.of(options, estimate, STEPS), device)
    epochs = options.training.epochs
    measuring = measuring_seconds(estimate.images["train"], estimate.dims[0], len(estimate.classes))
    return HeadsTime(len(heads), epochs, epoch * epochs, measuring)


@dataclass(frozen=True)
class EpochSize:
    """How much of an epoch is timed."""

    batch: int
    train: int  # images
    val: int
    part: float  # of a whole epoch that this is

    @classmethod
    def of(cls, options: Options, estimate: CostEstimate, steps: int) -> EpochSize:
        """At most so many steps, and as large a part of the validation images."""
        folds = options.data.folds or 1
        pool = sum(estimate.images[split] for split in options.data.training_splits)
        images = max(1, pool * (folds - 1 or 1) // folds)
        val = pool // folds if folds > 1 else estimate.images["val"]
        batch = min(options.data.batch_size, images)
        train = min(images, batch * steps)
        return cls(batch, train, max(1, round(val * train / images)), train / images)


def epoch_seconds(heads: Sequence[HeadSpec], estimate: CostEstimate, size: EpochSize, device: torch.device) -> float:
    """Of an epoch of all these heads together, validation included. What comes before the first epoch, such as the
    capture of a graph, is not in it."""
    features = _noise(estimate, size, device)
    once = _seconds(heads, features, size.batch, 1)
    epochs = 2
    while True:
        each = max(1e-9, (_seconds(heads, features, size.batch, 1 + epochs) - once) / epochs)
        if each * epochs >= SECONDS / 2 or epochs == MOST_EPOCHS:
            return each / size.part
        epochs = min(MOST_EPOCHS, max(epochs + 1, round(SECONDS / each)))


@dataclass(frozen=True)
class _Noise:
    """Features that nobody extracted: `[N, F]`, one view each."""

    values: NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def read(self, images: Indices) -> NDArray[np.float32]:
        return self.values[images]


def _noise(estimate: CostEstimate, size: EpochSize, device: torch.device) -> Features:
    classes = len(estimate.classes)
    every = np.arange(size.train + size.val)
    values = np.random.default_rng(0).standard_normal((len(every), estimate.dims[0]), np.float32)
    fold = Fold(every[: size.train], every[size.train :])
    return Features(_Noise(values), every % classes, np.ones_like(every), (fold,), classes, device)


def _seconds(heads: Sequence[HeadSpec], features: Features, batch: int, epochs: int) -> float:
    """Of so many epochs, with what comes before them."""
    # Noise has no classes by the names that weights may have, and gets no better.
    given = {"epochs": epochs, "warmup_epochs": 0, "patience": None, "class_weights": None}
    alone = [replace(h, training=h.training.model_copy(update=given), fold=0) for h in heads]
    begin = time.perf_counter()
    train_heads(features, alone, batch_size=batch, keep_weights=False, keep_outcomes=True)
    return time.perf_counter() - begin
