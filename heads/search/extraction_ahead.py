"""A search space in, the features that its trials will need extracted: before the first trial, where they are few."""

from __future__ import annotations

import itertools
import logging
import math

import optuna

from featcache.errors import OptionsError
from featcache.extraction import spread_backbones
from featcache.options import Options
from heads.search.search_space import Space
from heads.search.trial_trainer import TrialTrainer

log = logging.getLogger("featcache")

MOST_EXTRACTED = 64  # combinations of choices


def extract_ahead(space: Space, trainer: TrialTrainer) -> None:
    """Extract for every combination of choices. What one lacks, its trials will say; raises what all of them lack."""
    combinations = _combinations(space)
    spread_backbones([trainer.stage_one(options) for options in combinations], trainer.session)
    problems = [trainer.problem(options) for options in combinations]
    found = [p for p in problems if p is not None]
    for problem in dict.fromkeys(map(str, found)):
        log.error("%s", problem)
    if found and len(found) == len(problems):
        raise found[0]


def _combinations(space: Space) -> list[Options]:
    """The choices that need extractions of their own, where they are few: better done, or found impossible, at once."""
    choices = {
        k: d.choices
        for k, d in space.distributions.items()
        if isinstance(d, optuna.distributions.CategoricalDistribution) and k.split(".")[0] in {"model", "data"}
    }
    if math.prod(len(c) for c in choices.values()) > MOST_EXTRACTED:
        return []
    found = []
    for values in itertools.product(*choices.values()):
        try:
            found.append(space.options(dict(zip(choices, values, strict=True))))
        except OptionsError:
            continue  # its trials will say so
    return found
