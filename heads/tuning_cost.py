"""What `benchmark --tuned` would add to a run: how many heads, and about how long; a few steps of some are timed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from featcache.extraction import CostEstimate
from featcache.options import Options
from heads.head_times import EpochSize, epoch_seconds
from heads.training import recipes_of, run_heads

STEPS = 6  # of an epoch that is timed
PARAMETERS = 30_000_000  # of all heads that are timed side by side: more would take their seconds to be timed


@dataclass(frozen=True)
class TuningCost:
    """What the tuned head of one run costs beside the uniform one."""

    recipes: int
    heads: int  # of all recipes, seeds and folds, and those of the best recipe once more
    seconds: float


def estimate_tuning(options: Options, estimate: CostEstimate, device: torch.device) -> TuningCost:
    """Beside the run that `estimate` is of. Heads of every recipe are trained for a few epochs on noise as wide as the
    features; what features that do not fit the memory add is not counted."""
    folds = options.data.folds or 1
    recipes = recipes_of(options)
    specs = [head for recipe in recipes for head in run_heads(recipe.options(options), estimate.dims, folds)]
    count = len(specs) + len(specs) // len(recipes)  # the best is trained again
    parameters = sum(a * b + b for a, b in pairwise(estimate.dims))
    timed = specs[:: max(1, -(-len(specs) * parameters // PARAMETERS))]
    epoch = epoch_seconds(timed, estimate, EpochSize.of(options, estimate, STEPS), device)
    return TuningCost(len(recipes), count, epoch / len(timed) * options.training.epochs * count)
