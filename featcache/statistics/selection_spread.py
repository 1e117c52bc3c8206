"""By how much the corrected figure of the best of many varies more than the figure of a run that nobody chose."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from featcache.statistics.scores import Scores, Values
from featcache.statistics.seed_luck import SeedLuck

PARTS = 10  # that the images are cut into: fewer choose from too few images, more depend on single ones
WORLDS = 300  # drawn for the spread of the corrected figure
NOISE = 60  # draws in each of them


def selection_spread(kept: Sequence[Scores]) -> float:
    """By how much the corrected figure of the best of K runs varies more than the figure of a run that nobody chose.

    In WORLDS worlds around the figures, shrunk towards their mean as their own noise demands (James and Stein 1961),
    the best is chosen and corrected: of normal figures, cross-validation is the coupled bootstrap (Oliveira, Lei and
    Tibshirani 2021), which adds noise of 1 / (PARTS - 1) of their variance before the choice and takes it off after.
    """
    runs = len(kept)
    if runs < 2:
        return 1.0
    means = np.array([s.mean for s in kept])
    own, shared = _variances(kept)
    if own <= 0:
        return 1.0
    apart = means - means.mean()
    shrunk = apart * _shrinkage(apart, own)
    rng = np.random.default_rng([runs, WORLDS])
    alpha = math.sqrt(1 / (PARTS - 1))
    drawn = shrunk + rng.standard_normal((WORLDS, runs)) * math.sqrt(own)
    errors = np.zeros(WORLDS)
    for _ in range(NOISE // 2):
        one = rng.standard_normal((WORLDS, runs)) * math.sqrt(own)
        for noise in (one, -one):  # so that it takes nothing from a choice that is the same in every draw
            chosen = (drawn + alpha * noise).argmax(axis=1)
            errors += (drawn - noise / alpha)[np.arange(WORLDS), chosen] / NOISE
    errors -= shrunk[drawn.argmax(axis=1)]
    return max(1.0, math.sqrt((float(errors.var()) + shared) / (own + shared)))


def _variances(kept: Sequence[Scores]) -> tuple[float, float]:
    """Of a run's figure: what is its own, and what it shares with the other runs, in the mean over runs."""
    names = sorted({u for s in kept for u in set(s.units)})
    place = {name: number for number, name in enumerate(names)}
    tables = [np.bincount([place[u] for u in s.units], s.influence, len(names)) for s in kept]
    together = np.sum(tables, axis=0)
    alone = float(sum(t @ t for t in tables))
    runs = len(kept)
    shared = max(0.0, (float(together @ together) - alone) / (runs * (runs - 1)))
    luck = float(np.mean(SeedLuck.of(kept).variance))
    # What rare classes add (Scores.image_variance) is as much their own as the rest is.
    times = float(sum(s.image_variance for s in kept)) / alone if alone > 0 else 1.0
    return max(0.0, alone / runs - shared) * times + luck, shared * times


def _shrinkage(apart: Values, own: float) -> float:
    runs, spread = len(apart), float((apart**2).sum())
    if spread <= 0:
        return 0.0
    if runs > 3:
        return max(0.0, 1 - (runs - 3) * own / spread)
    between = max(0.0, spread / (runs - 1) - own)
    return between / (between + own)
