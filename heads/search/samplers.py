"""Samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from heads.search.search_space import Space
from heads.search.spsa import SPSASampler
from heads.search.sweep_options import SweepOptions


def make_sampler(sweep: SweepOptions, space: Space, start: Mapping[str, Any], finished: int) -> BaseSampler:
    """The sampler that a sweep names. Its random numbers depend on how many trials are finished: a sweep that goes on
    must not draw what it drew before. `start` is where the base options lie, for those that climb from a point."""
    seed = (sweep.seed + 1_000_003 * finished) % 2**31
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match sweep.sampler:
            case "grid" | "random":  # a grid's points are laid down by the study, with nothing left to draw
                return optuna.samplers.RandomSampler(seed)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            case "gp":
                return optuna.samplers.GPSampler(seed=seed)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(population_size=min(50, sweep.batch * 2), seed=seed)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case "spsa":
                return SPSASampler(space.distributions, start, sweep.seed)
