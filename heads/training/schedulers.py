"""Schedulers by name: an epoch in, what the learning rate is multiplied by in it out.

An entry of SCHEDULERS is all there is to a scheduler. Its name also stands among those that `training.scheduler` may
give, in `featcache/options/training_options.py`: stage one cannot import this.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from featcache.options import TrainingOptions

# From the share of the epochs after the warm-up that is done, 0 to below 1, to the factor.
SCHEDULERS: dict[str, Callable[[float], float]] = {
    "none": lambda _: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),  # Loshchilov and Hutter 2017, one period down to zero
    "step": lambda done: 0.1 ** ((done >= 0.5) + (done >= 0.75)),
}


def rate_factor(training: TrainingOptions, epoch: int) -> float:
    """What the learning rate is multiplied by in `epoch`: a linear warm-up first, then the scheduler over the rest."""
    warmup = training.warmup_epochs
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    return SCHEDULERS[training.scheduler]((epoch - warmup) / (training.epochs - warmup))
