"""Errors of two backbones side by side: what they share, and what both together would get right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featcache.statistics import Scores
from heads.redundancy.answers import Answers
from heads.training import figure_limits

FLIPS = 4999  # of signs, in the test
BLOCK = 500  # of them at once
CHANCE = 0.05  # of a gain of any pair, below which it counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedErrors:
    """Two runs on the same validation images; shares of these, means over pairs of seeds."""

    one: str
    other: str
    either: float  # right by at least one of the two
    apart: float  # right by one and wrong by the other
    reseeded: float | None  # the same for two seeds of one network, mean of both; None with a single seed
    correlation: float | None  # of being wrong; None where one is always or never right
    together: float  # right by the mean of both heads' probabilities
    alone: float  # right by the better of the two, its probabilities averaged over as many seeds
    better: str
    gain: float  # together - alone
    low: float  # 95% interval of the gain, of this pair by itself
    high: float
    p: float  # probability of such a gain of any pair by chance (one-sided, corrected for the number of pairs)

    @property
    def beyond_chance(self) -> bool:
        """Whether both together gain over the better of the two."""
        return self.p < CHANCE


def paired_errors(answers: Answers, seed: int = 0) -> list[PairedErrors]:
    """Each two of the runs whose probabilities `answers` keeps, the likeliest gain first.

    What two networks get right together is judged by the mean of their heads' probabilities, without training a joined
    head. Any two heads gain by averaging, so that a network's own figure is that of two of its seeds averaged.

    The test flips the sign of each image's gain at random, for all pairs alike and for images of one unit alike, and
    asks how often the largest studentised gain of any pair is as large: right for few discordant images, and for any
    number of pairs (Westfall and Young 1993; Nichols and Holmes 2002).
    """
    pairs = list(combinations(answers.probabilities, 2))
    if not pairs:
        return []
    averaged = {run: _averaged(answers, run, run) for run in answers.probabilities}
    gains = np.stack([_gain(answers, averaged, one, other) for one, other in pairs])
    chances = sign_flip(_by_unit(gains, answers.units), seed)
    found = [
        _pair(answers, averaged, pair, gain, float(p)) for pair, gain, p in zip(pairs, gains, chances, strict=True)
    ]
    return sorted(found, key=lambda pair: (pair.p, -pair.gain))


def sign_flip(gains: Floats, seed: int = 0) -> Floats:
    """For each row of `gains` `[P, N]` how likely as large a mean is by chance `[P]`, corrected for P (one-sided)."""
    norms = np.sqrt((gains**2).sum(axis=1))
    unit = gains / np.where(norms > 0, norms, np.inf)[:, None]
    found = unit.sum(axis=1)
    rng = np.random.default_rng(seed)
    exceeded = np.zeros(len(gains))
    for start in range(0, FLIPS, BLOCK):
        signs = rng.integers(0, 2, size=(gains.shape[1], min(BLOCK, FLIPS - start))) * 2.0 - 1
        largest = (unit @ signs).max(axis=0)
        exceeded += (largest[None] >= found[:, None] - 1e-9).sum(axis=1)
    chances: Floats = (exceeded + 1) / (FLIPS + 1)
    return chances


def _by_unit(gains: Floats, units: Sequence[str]) -> Floats:
    """The sums of `gains` `[P, N]` over each unit `[P, U]`, in the order of their first images."""
    _, first, unit = np.unique(np.array(units), return_index=True, return_inverse=True)
    found: Floats = np.stack([np.bincount(unit, row) for row in gains])
    return found[:, np.argsort(first)]


def _averaged(answers: Answers, one: str, other: str) -> Floats:
    """How often each image is right `[N]` by the mean of a seed of each; of one run by itself those of two seeds."""
    mine, theirs = answers.probabilities[one], answers.probabilities[other]
    count = max(len(mine), len(theirs))
    right = [answers.right(mine[s % len(mine)] + theirs[(s + 1) % len(theirs)]) for s in range(count)]
    found: Floats = np.mean(right, axis=0)
    return found


def _better(averaged: dict[str, Floats], one: str, other: str) -> str:
    return one if averaged[one].mean() >= averaged[other].mean() else other


def _gain(answers: Answers, averaged: dict[str, Floats], one: str, other: str) -> Floats:
    gain: Floats = _averaged(answers, one, other) - averaged[_better(averaged, one, other)]
    return gain


def _pair(answers: Answers, averaged: dict[str, Floats], pair: tuple[str, str], gain: Floats, p: float) -> PairedErrors:
    one, other = pair
    rights = [answers.right(answers.probabilities[run]).astype(np.float64) for run in pair]
    mine, theirs = (right.mean(axis=0) for right in rights)
    own = [_reseeded(right) for right in rights]
    better = _better(averaged, one, other)
    alone = float(averaged[better].mean())
    low, high = figure_limits(Scores(gain[None], answers.units, bounded=False))
    return PairedErrors(
        one=one,
        other=other,
        either=float(1 - ((1 - mine) * (1 - theirs)).mean()),
        apart=float((mine * (1 - theirs) + theirs * (1 - mine)).mean()),
        reseeded=None if None in own else float(np.mean([o for o in own if o is not None])),
        correlation=_correlation(mine, theirs),
        together=alone + float(gain.mean()),
        alone=alone,
        better=better,
        gain=float(gain.mean()),
        low=low,
        high=high,
        p=p,
    )


def _reseeded(right: Floats) -> float | None:
    """The share of images that one seed gets right and another of the same network wrong; `right` is `[S, N]`."""
    seeds = len(right)
    share = right.mean(axis=0)
    return None if seeds < 2 else float(2 * (share * (1 - share)).mean() * seeds / (seeds - 1))


def _correlation(mine: Floats, theirs: Floats) -> float | None:
    """Of being right, over images and pairs of seeds."""
    a, b = float(mine.mean()), float(theirs.mean())
    spread = (a * (1 - a) * b * (1 - b)) ** 0.5
    return None if spread == 0 else float(((mine * theirs).mean() - a * b) / spread)
