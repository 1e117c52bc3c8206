"""Weights fitted on validation answers: on all of them for use, and for judging without the images that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.errors import RunError
from heads.combine.greedy_selection import BrierSums, Weights, greedy_weights

PARTS = 10  # that the images are cut into


@dataclass(frozen=True, eq=False)
class FittedWeights:
    """`weights` `[K]` by all images, and those `[K, N]` that each image is judged by: fitted without its part."""

    weights: Weights
    held_out: NDArray[np.float64]
    parts: int  # 0 where nothing was fitted

    @property
    def spread(self) -> Weights:
        """How far each weight `[K]` moves between parts: its standard deviation over images."""
        found: Weights = self.held_out.std(axis=1)
        return found


def fit_weights(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], units: Sequence[str], rounds: int
) -> FittedWeights:
    """The weights of K members by probabilities `[K, S, N, C]` on images of these labels `[N]`.

    Images of one of `units` `[N]` (a group) are in one part. Raises RunError where all are of one: there is nothing to
    fit by and judge on another.
    """
    if len(set(units)) < 2:
        raise RunError(
            "combine: all validation images are of one group, so that weights cannot be fitted on some and judged on "
            "others. Give all members the same weight: --weights equal."
        )
    part = parts_of(units)
    count = int(part.max()) + 1
    whole = BrierSums.of(probabilities, labels)
    held_out = np.empty((len(probabilities), len(labels)))
    for number in range(count):
        here = part == number
        sums = whole.without(BrierSums.of(probabilities[:, :, here], labels[here]))
        held_out[:, here] = greedy_weights(sums, rounds)[:, None]
    return FittedWeights(greedy_weights(whole, rounds), held_out, count)


def parts_of(units: Sequence[str]) -> NDArray[np.int64]:
    """Which part each image `[N]` is in, of PARTS or one for each unit: images of one of `units` `[N]` are in one."""
    names = sorted(set(units))
    cut = np.random.default_rng(len(names)).permutation(len(names)) % min(PARTS, len(names))
    place = {name: number for number, name in enumerate(names)}
    found: NDArray[np.int64] = cut[[place[unit] for unit in units]]
    return found


def equal_weights(members: int, images: int) -> FittedWeights:
    """The plain average: nothing is fitted, so every image may judge it."""
    weights = np.full(members, 1 / members)
    return FittedWeights(weights, np.repeat(weights[:, None], images, axis=1), 0)
