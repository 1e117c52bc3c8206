"""What errors of several backbones would do by chance: how many images all get wrong, how much backbones differ.

Images that were drawn from the world together (`data.groups`) are one unit, and count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, hypergeom

from heads.redundancy.answers import Flags

DRAWS = 9999  # of the permutation test, at most
FEWEST_DRAWS = 999
WORK = 20_000_000  # counts that are permuted in all
BLOCK = 2_000_000  # of them at once
MANY = 100  # units in which backbones differ, from which on the test's limit is as good
PICKS = 50  # choices of one image of each unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def shared_by_chance(counts: Sequence[int], n: int) -> Floats:
    """The distribution of how many of n images lie in all of several independent random sets of these sizes: `[m + 1]`,
    m the smallest of them."""
    return _shared_by_chance(tuple(sorted(counts)), n)


@lru_cache(maxsize=1024)
def _shared_by_chance(counts: tuple[int, ...], n: int) -> Floats:
    first, *more = counts
    every = np.arange(first + 1)
    found: Floats = (every == first).astype(np.float64)
    for count in more:
        found = found @ hypergeom.pmf(every[None], n, every[:, None], count)
    return found


def expected_shared(wrong: Flags, labels: Ints) -> float:
    """How many images would be wrong in every row of `wrong` `[K, N]`, were errors independent within each class."""
    return float(sum((labels == c).sum() * wrong[:, labels == c].mean(axis=1).prod() for c in set(labels.tolist())))


def chance_of_shared(wrong: Flags, labels: Ints, units: Ints, rng: np.random.Generator) -> float:
    """The probability of as many images wrong in every row of `wrong` `[K, N]`, were errors independent within each
    class; `units` `[N]` is the same for images that are not independent of each other.

    Of each unit one image is picked at random and the test made of these; the probability is the mean over PICKS such
    choices (multiple outputation: Follmann, Proschan and Leifer 2003). Its size is that of one of the tests at most,
    and copies of an image change nothing.
    """
    if len(np.unique(units)) == len(units):
        return _chance_of_shared(wrong, labels)
    found = []
    for _ in range(PICKS):
        order = rng.permutation(len(units))
        picked = order[np.unique(units[order], return_index=True)[1]]
        found.append(_chance_of_shared(wrong[:, picked], labels[picked]))
    return float(np.mean(found))


def _chance_of_shared(wrong: Flags, labels: Ints) -> float:
    total = np.ones(1)
    for c in sorted(set(labels.tolist())):
        here = labels == c
        total = np.convolve(total, shared_by_chance(wrong[:, here].sum(axis=1).tolist(), int(here.sum())))
    return float(total[int(wrong.all(axis=0).sum()) :].sum())


def chance_of_differing(hits: Ints, rng: np.random.Generator) -> float:
    """The probability that the columns' sums of `hits` `[units, K]`, counts of images, differ as much, were its columns
    exchangeable.

    Cochran's Q (Biometrika 1950), and of units with several images what it becomes there: each unit's counts are
    permuted among the columns, few units by drawing, many by the limit, chi-squared with K - 1 degrees of freedom.
    Many are as many as would weigh the same if all units weighed alike.
    """
    inside = hits[hits.min(axis=1) < hits.max(axis=1)]  # other units say nothing
    if not len(inside):
        return 1.0
    columns, sums, variances = inside.shape[1], inside.sum(axis=0), inside.var(axis=1)
    if variances.sum() ** 2 >= MANY * (variances**2).sum():
        return float(chi2.sf((columns - 1) * sums.var() / variances.sum(), columns - 1))
    draws = min(DRAWS, max(FEWEST_DRAWS, WORK // inside.size))
    block = max(1, BLOCK // inside.size)
    found, exceeded = _spread(sums), 0
    for start in range(0, draws, block):
        drawn = rng.permuted(np.broadcast_to(inside, (min(block, draws - start), *inside.shape)), axis=2)
        exceeded += int((_spread(drawn.sum(axis=1)) >= found).sum())
    return float((exceeded + 1) / (draws + 1))


def by_unit(hits: Flags, units: Ints) -> Ints:
    """In how many images of each unit each row of `hits` `[K, N]` is true: `[units, K]`."""
    _, unit = np.unique(units, return_inverse=True)
    found: Ints = np.stack([np.bincount(unit[row], minlength=int(unit.max()) + 1) for row in hits], axis=1)
    return found


def _spread(counts: Ints) -> Ints:
    found: Ints = (counts.astype(np.int64) ** 2).sum(axis=-1)
    return found
