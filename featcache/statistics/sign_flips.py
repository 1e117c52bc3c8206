"""How far apart runs come by luck alone: the signs of their differences are drawn anew, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.statistics.scores import Values
from featcache.statistics.seed_luck import SeedLuck

DRAWS = 10_000  # the critical value moves by about 1% between seeds
MANY = 200  # runs, beyond which AT_ONCE draws do: it moves by 2%, and is exceeded in 5% of boards all the same
AT_ONCE = 1_000  # draws
LOTS = 20_000  # of units, whose signs are drawn together where there are more
NONE = 1e-15  # a variance that is rounding
FEW = 16  # units, of which draws alone say what can be told

Drawn = NDArray[np.float32]  # of each run and draw [K, AT_ONCE]


def largest_leads(tables: Sequence[Values], luck: Sequence[SeedLuck]) -> Values:
    """Of each draw and run `[draws, K]`: the largest studentised lead over another run, in any metric.

    `tables` `[K, U]` of each metric: what each unit (an image, a group) adds to each run's figure; only differences
    between runs count. If two runs are equally good, each unit could as well have turned out the other way round: its
    sign is drawn, the same for all runs and metrics (McNemar 1947 for two; with the largest of all pairs Romano and
    Wolf 2005). That is exact where few units tell runs apart, and with many of them the multiplier bootstrap
    (Chernozhukov, Chetverikov and Kato 2013). `luck` of each metric is that of the seeds, drawn as normal, and
    its estimate as that varies.
    """
    runs, units = tables[0].shape
    every = np.concatenate(_in_lots(tables))
    rng = np.random.default_rng([runs, len(tables)])
    times = DRAWS // AT_ONCE if runs <= MANY else 1
    found = [_leads(every, luck, runs, units, rng) for _ in range(times)]
    return np.concatenate(found).astype(np.float64)


def _in_lots(tables: Sequence[Values]) -> list[Values]:
    """The same without the units that tell no two runs apart, and of very many the sums of lots."""
    telling = np.any([np.ptp(table, axis=0) > 0 for table in tables], axis=0)
    kept = [table[:, telling] - table[:, telling].mean(axis=0) for table in tables]
    if telling.sum() <= LOTS:
        return kept
    lot = np.random.default_rng(0).permutation(int(telling.sum())) % LOTS
    return [np.stack([np.bincount(lot, row, LOTS) for row in table]) for table in kept]


def _leads(every: Values, luck: Sequence[SeedLuck], runs: int, units: int, rng: np.random.Generator) -> Drawn:
    """`AT_ONCE` draws; `every` holds the runs of one metric after those of another."""
    count = every.shape[1]
    bits = np.frombuffer(rng.bytes(AT_ONCE * -(-count // 8)), np.uint8).reshape(AT_ONCE, -1)
    signs = np.unpackbits(bits, axis=1, count=count).astype(np.float32) * 2 - 1
    moved = every.astype(np.float32) @ signs.T
    deviation = np.sqrt(np.concatenate([one.variance for one in luck])).astype(np.float32)
    shifted = moved + rng.standard_normal((len(every), AT_ONCE), np.float32) * deviation[:, None]
    largest = np.zeros((runs, AT_ONCE), np.float32)
    for number, of_seeds in enumerate(luck):
        own = slice(number * runs, (number + 1) * runs)
        within = every[own] @ every[own].T
        square = np.diag(within)
        spread = square[:, None] + square - 2 * within
        if of_seeds.variance.any() and units > FEW:  # runs that answer alike have no other error than their seeds'
            spread = np.maximum(spread, of_seeds.noise[:, None] + of_seeds.noise)
        apart = np.maximum(spread, 0).astype(np.float32)
        _enlarge(largest, moved[own], shifted[own], apart, of_seeds.drawn(rng, AT_ONCE), units)
    return largest.T


def _enlarge(largest: Drawn, moved: Drawn, shifted: Drawn, spread: Drawn, seeds: Drawn, units: int) -> None:
    """Take the leads of one metric into account, each pair once: who leads by so much is led by as much."""
    any_luck = bool(seeds.any())
    for k in range(len(moved) - 1):
        others = slice(k + 1, None)
        apart = moved[k] - moved[others]
        variance = spread[k, others, None] - apart * apart / units
        if any_luck:
            variance += seeds[k] + seeds[others]
        ahead = (shifted[k] - shifted[others]) / np.sqrt(np.maximum(variance, NONE))
        np.maximum(largest[k], ahead.max(axis=0), out=largest[k])
        np.maximum(largest[others], -ahead, out=largest[others])
