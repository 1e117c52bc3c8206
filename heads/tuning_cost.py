"""What `benchmark --tuned` would add to a run: how many heads, and about how long; a few steps of some are timed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.extraction import CostEstimate, Indices
from featcache.options import Options
from heads.training import Features, Fold, HeadSpec, recipes_of, run_heads, train_heads

STEPS = 6  # of an epoch that is timed
PARAMETERS = 30_000_000  # of all heads that are timed side by side: more would take their seconds to be timed


@dataclass(frozen=True)
class TuningCost:
    """What the tuned head of one run costs beside the uniform one."""

    recipes: int
    heads: int  # of all recipes, seeds and folds, and those of the best recipe once more
    seconds: float


@dataclass(frozen=True)
class _Noise:
    """Features that nobody extracted: `[N, F]`, one view each."""

    values: NDArray[np.float32]

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    def read(self, images: Indices) -> NDArray[np.float32]:
        return self.values[images]


def estimate_tuning(options: Options, estimate: CostEstimate, device: torch.device) -> TuningCost:
    """Beside the run that `estimate` is of. Heads of every recipe are trained for a few steps on noise of the features'
    width; what an epoch spends on val, and on features that do not fit the memory, is not counted."""
    folds = options.data.folds or 1
    recipes = recipes_of(options)
    specs = [head for recipe in recipes for head in run_heads(recipe.options(options), estimate.dims, folds)]
    own = len(specs) // len(recipes)
    count = len(specs) + own  # the best is trained again
    images = sum(estimate.images[split] for split in options.data.training_splits) * (folds - 1 or 1) // folds
    batch = min(options.data.batch_size, max(1, images))
    steps = math.ceil(images / batch) * options.training.epochs
    parameters = sum(a * b + b for a, b in pairwise(estimate.dims))
    timed = specs[:: max(1, -(-len(specs) * parameters // PARAMETERS))]
    features = _noise(estimate, batch * STEPS, device)
    _seconds(timed, features, batch)  # the first pass allocates, and captures a graph where there is a GPU
    each = min(_seconds(timed, features, batch) for _ in range(2)) / (STEPS * len(timed))
    return TuningCost(len(recipes), count, each * steps * count)


def _noise(estimate: CostEstimate, images: int, device: torch.device) -> Features:
    classes = len(estimate.classes)
    values = np.random.default_rng(0).standard_normal((images + 1, estimate.features), np.float32)
    every = np.arange(images + 1)
    fold = Fold(every[:-1], every[-1:])
    return Features(_Noise(values), every % classes, np.ones_like(every), (fold,), classes, device)


def _seconds(heads: list[HeadSpec], features: Features, batch: int) -> float:
    """Of one epoch."""
    once = {"epochs": 1, "warmup_epochs": 0, "class_weights": None}  # noise has no classes by these names
    alone = [replace(h, training=h.training.model_copy(update=once), fold=0) for h in heads]
    begin = time.perf_counter()
    train_heads(features, alone, batch_size=batch, keep_weights=False, keep_outcomes=True)
    return time.perf_counter() - begin
