"""The learning rate's factor in each epoch: warm-up, then the scheduler."""

from __future__ import annotations

import math

from featcache.options import TrainingOptions


def rate_factor(training: TrainingOptions, epoch: int) -> float:
    """What the learning rate is multiplied by in `epoch`: a linear warm-up first, then the scheduler over the rest."""
    warmup = training.warmup_epochs
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    done = (epoch - warmup) / (training.epochs - warmup)
    match training.scheduler:
        case "cosine":  # Loshchilov and Hutter 2017, one period down to zero
            return 0.5 * (1 + math.cos(math.pi * done))
        case "step":
            return 0.1 ** ((done >= 0.5) + (done >= 0.75))
        case _:
            return 1.0
