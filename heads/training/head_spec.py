"""What one head is trained with, and the heads that a run's options ask for."""

from __future__ import annotations

from dataclasses import dataclass

from featcache.options import Normalise, Options, TrainingOptions


@dataclass(frozen=True)
class HeadSpec:
    """What one head is trained with; `training.seeds` plays no part."""

    dims: tuple[int, ...]
    training: TrainingOptions
    seed: int
    dropout: float = 0.0
    fold: int = 0  # of the features' folds
    normalise: Normalise = "none"  # what is done to the features in front of it


def run_heads(options: Options, dims: tuple[int, ...], folds: int) -> list[HeadSpec]:
    """The heads of a run: for each seed one, or one for each fold."""
    training, dropout, normalise = options.training, options.model.dropout, options.head.normalise
    return [
        HeadSpec(dims, training, seed, dropout, fold, normalise) for seed in training.seed_list for fold in range(folds)
    ]
