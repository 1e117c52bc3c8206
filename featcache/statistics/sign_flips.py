"""How far apart runs come by luck alone: the signs of their differences are drawn anew, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.statistics.scores import Values

DRAWS = 10_000  # the critical value moves by about 1% between seeds
AT_ONCE = 1_000  # draws
LOTS = 20_000  # of units, whose signs are drawn together where there are more
NONE = 1e-15  # a variance that is rounding


def largest_leads(tables: Sequence[Values], luck: Sequence[Values]) -> Values:
    """Of each draw and run `[DRAWS, K]`: the largest studentised lead over another run, in any metric.

    `tables` `[K, U]` of each metric: what each unit (an image, a group) adds to each run's figure; only differences
    between runs count. If two runs are equally good, each unit could as well have turned out the other way round: its
    sign is drawn, the same for all runs and metrics (McNemar 1947 for two; with the largest of all pairs Romano and
    Wolf 2005). That is exact where few units tell runs apart, and with many of them the multiplier bootstrap
    (Chernozhukov, Chetverikov and Kato 2013). `luck` `[K]` of each metric is the variance by seeds, drawn as normal.
    """
    runs, units = tables[0].shape
    every, shares = np.concatenate(_in_lots(tables)), np.concatenate(luck)
    rng = np.random.default_rng([runs, len(tables)])
    found = [_leads(every, shares, runs, units, rng) for _ in range(DRAWS // AT_ONCE)]
    return np.concatenate(found).astype(np.float64)


def _in_lots(tables: Sequence[Values]) -> list[Values]:
    """The same without the units that tell no two runs apart, and of very many the sums of lots."""
    telling = np.any([np.ptp(table, axis=0) > 0 for table in tables], axis=0)
    kept = [table[:, telling] - table[:, telling].mean(axis=0) for table in tables]
    if telling.sum() <= LOTS:
        return kept
    lot = np.random.default_rng(0).permutation(int(telling.sum())) % LOTS
    return [np.stack([np.bincount(lot, row, LOTS) for row in table]) for table in kept]


def _leads(every: Values, luck: Values, runs: int, units: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """`AT_ONCE` draws; `every` holds the runs of one metric after those of another."""
    count = every.shape[1]
    bits = np.frombuffer(rng.bytes(AT_ONCE * -(-count // 8)), np.uint8).reshape(AT_ONCE, -1)
    signs = np.unpackbits(bits, axis=1, count=count).astype(np.float32) * 2 - 1
    moved = signs @ every.T.astype(np.float32)
    shifted = moved + rng.standard_normal((AT_ONCE, len(luck)), np.float32) * np.sqrt(luck).astype(np.float32)
    largest = np.zeros((AT_ONCE, runs), np.float32)
    for first in range(0, len(every), runs):
        own = slice(first, first + runs)
        within = every[own] @ every[own].T
        square = np.diag(within)
        spread = np.maximum(square[:, None] + square - 2 * within, 0).astype(np.float32)
        seeds = (luck[own, None] + luck[own]).astype(np.float32)
        for k in range(runs):
            apart = moved[:, [first + k]] - moved[:, own]
            variance = spread[k] - apart * apart / units + seeds[k]
            ahead = shifted[:, [first + k]] - shifted[:, own]
            np.maximum(largest[:, k], (ahead / np.sqrt(np.maximum(variance, NONE))).max(axis=1), out=largest[:, k])
    return largest
