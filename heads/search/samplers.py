"""Samplers by name: what a sweep searches in, an Optuna sampler out.

An entry of SAMPLERS is all there is to a sampler. Installed packages bring more, by an entry point in the group
`featcache.samplers` whose object is a Sampler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from featcache.errors import PluginError
from featcache.plugins import one_with_plugins, package_code, plugin_names
from heads.search.spsa import SPSASampler

GROUP = "featcache.samplers"
# Trials at once of those that learn from what they are told: with 32, of 60 trials, they learn once (docs/sweeps.md has
# what that costs).
AS_IT_LEARNS = 8


@dataclass(frozen=True)
class SamplerSetup:
    """What a sampler may be made from."""

    distributions: Mapping[str, BaseDistribution]  # of each option that is searched
    start: Mapping[str, Any]  # where the base options lie in what is searched, for those that climb from a point
    batch: int  # trials that are asked for before any of them is told
    trials: int  # there are to be in all
    seed: int  # of the sweep, the same whenever it goes on
    finished: int  # trials, of earlier calls

    @property
    def fresh_seed(self) -> int:
        """A seed for this call: a sweep that goes on must not draw what it drew before."""
        return (self.seed + 1_000_003 * self.finished) % 2**31


@dataclass(frozen=True)
class Sampler:
    """A way to choose trials. What it has learned must follow from the study's trials: a sweep may be stopped."""

    meaning: str  # one line: how it chooses
    make: Callable[[SamplerSetup], BaseSampler]
    several_objectives: bool = True  # False: it follows one
    batch: int = 32  # trials at once, unless the sweep says otherwise
    grid: bool = False  # the study lays down every point, each once; ranges need `points` or `step`
    most_combinations: int | None = None  # of choices, where it climbs for each combination of them on its own


SAMPLERS: dict[str, Sampler] = {
    "grid": Sampler(
        meaning="every combination of choices and points, the last option varying fastest",
        make=lambda setup: optuna.samplers.RandomSampler(setup.fresh_seed),  # with nothing left to draw
        grid=True,
    ),
    "random": Sampler(
        meaning="at random, each trial on its own",
        make=lambda setup: optuna.samplers.RandomSampler(setup.fresh_seed),
    ),
    "tpe": Sampler(
        meaning="where good trials are dense and poor ones are not (tree-structured Parzen estimator)",
        make=lambda setup: optuna.samplers.TPESampler(seed=setup.fresh_seed, constant_liar=True),
        batch=AS_IT_LEARNS,
    ),
    "cmaes": Sampler(
        meaning="from a normal distribution that moves and stretches towards good trials; choices at random",
        make=lambda setup: optuna.samplers.CmaEsSampler(seed=setup.fresh_seed, warn_independent_sampling=False),
        several_objectives=False,
        batch=AS_IT_LEARNS,
    ),
    "gp": Sampler(
        meaning="where a Gaussian process expects to gain most; for few and costly trials",
        make=lambda setup: optuna.samplers.GPSampler(seed=setup.fresh_seed),
        batch=AS_IT_LEARNS,
    ),
    "nsga2": Sampler(
        meaning="a population whose best trials are crossed and mutated; made for several objectives",
        make=lambda setup: optuna.samplers.NSGAIISampler(
            population_size=min(50, setup.batch * 2), seed=setup.fresh_seed
        ),
    ),
    "spsa": Sampler(
        meaning="up gradients that two trials estimate, in several chains from the best of some starts; for ranges",
        make=lambda setup: SPSASampler(setup.distributions, setup.start, setup.seed, setup.trials),
        several_objectives=False,
        batch=AS_IT_LEARNS,
    ),
}


def sampler_names() -> tuple[str, ...]:
    """Every name that a sweep may give, those of installed packages last; nothing of theirs is imported."""
    return (*SAMPLERS, *(name for name in plugin_names(GROUP) if name not in SAMPLERS))


def find_sampler(name: str) -> Sampler:
    """The sampler of one of `sampler_names`; an installed package is imported where the name is one of its own.

    Raises PluginError where that fails.
    """
    return one_with_plugins(GROUP, name, SAMPLERS, Sampler)


def make_sampler(name: str, setup: SamplerSetup) -> BaseSampler:
    """Optuna's sampler of this name, ready to be asked for trials.

    Raises PluginError where a package's sampler cannot be made, or is none.
    """
    if name not in SAMPLERS:
        return _made_by_package(name, setup)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return find_sampler(name).make(setup)


def _made_by_package(name: str, setup: SamplerSetup) -> BaseSampler:
    sampler = find_sampler(name)
    with package_code(f"sampler {name!r}"):
        made = sampler.make(setup)
    if not isinstance(made, BaseSampler):
        raise PluginError(
            f"the sampler {name!r} of an installed package made {type(made).__name__}; expected an "
            "optuna.samplers.BaseSampler. Mend or uninstall the package."
        )
    return made
