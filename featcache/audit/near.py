"""Near-duplicates: contents that several backbones see closer together than any two photographs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.audit.neighbours import LEAST, Matrix, Neighbours, between
from featcache.separability.grouping import Ints

KTH = 10  # the neighbour whose distance is the unit that an image's distances are measured in
KNOWN = 3 * KTH  # neighbours that are looked up, so that the unit is known still when copies are taken away
ALL_AGREE = 1.0  # of that unit: how far apart the two may be at most on any backbone
CLOSE = 0.45  # the geometric mean over backbones (docs/audit.md has the figures)
CLOSE_ALONE = 0.25  # with one backbone, which has no other to agree with
FLOOR = 0.15  # of the median unit: many copies of one image must not become each other's unit
MIN_IMAGES = 3 * KTH  # with fewer the unit says nothing

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """The distinct contents as one backbone sees them."""

    rows: Matrix  # [N, F], `neighbours.directions` of the features
    neighbours: Neighbours


def near_copies(seen: Mapping[str, Seen], keep: Callable[[Ints], Bools]) -> Ints:
    """A number for each content `[N]`, the same for near-duplicates of each other.

    Two contents are near-duplicates when their cosine distance, in units of the distance to their own 10th neighbours
    (local scaling: Zelnik-Manor and Perona 2004, "Self-Tuning Spectral Clustering"), is at most `CLOSE` as a geometric
    mean over the backbones and at most `ALL_AGREE` on each. So the rule needs no cosine that fits every network.

    `keep` says of such numbers `[N]` which contents `[N]` would stay in a cleaned data set. The units of those are
    larger, so the rule is applied to them again until it finds no more: a second audit then finds none either.
    """
    images = len(next(iter(seen.values())).rows) if seen else 0
    alive = np.ones(images, dtype=np.bool_)
    numbers = np.arange(images)
    if images < MIN_IMAGES:
        return numbers
    first, second = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    while True:
        more = _pairs(seen, alive)
        first, second = np.concatenate([first, more[0]]), np.concatenate([second, more[1]])
        numbers = _components(first, second, images)
        left = alive & keep(numbers)
        if (left == alive).all():
            return numbers
        alive = left


def _pairs(seen: Mapping[str, Seen], alive: Bools) -> tuple[Ints, Ints]:
    """The pairs of near-duplicates among the contents that are `alive` `[N]`, the smaller index first."""
    units = {name: _units(one.neighbours, alive) for name, one in seen.items()}
    limit = CLOSE if len(seen) > 1 else CLOSE_ALONE
    # A geometric mean below the limit takes one backbone below it, and that one has the pair among its neighbours.
    listed = [_listed(one.neighbours, units[name], alive, limit) for name, one in seen.items()]
    pairs = np.unique(np.concatenate(listed), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    logs = []
    for name, one in seen.items():
        distance = np.maximum(between(one.rows, first, second), LEAST)
        logs.append(np.log(distance / _unit_of(units[name], first, second)))
    ratios = np.array(logs).reshape(len(seen), len(first))
    close = (ratios.max(axis=0) <= np.log(ALL_AGREE)) & (ratios.mean(axis=0) <= np.log(limit))
    return first[close], second[close]


def _units(neighbours: Neighbours, alive: Bools) -> NDArray[np.float64]:
    units = neighbours.scale(KTH, alive)
    return np.maximum(units, FLOOR * float(np.median(units[alive])))


def _unit_of(units: NDArray[np.float64], first: Ints, second: Ints) -> NDArray[np.float64]:
    """The geometric mean of both images' units."""
    both: NDArray[np.float64] = np.sqrt(units[first] * units[second])
    return both


def _listed(neighbours: Neighbours, units: NDArray[np.float64], alive: Bools, limit: float) -> Ints:
    """Pairs `[P, 2]` of neighbours that this backbone finds close enough."""
    first = np.repeat(np.arange(len(units)), neighbours.index.shape[1])
    second, distance = neighbours.index.ravel(), neighbours.distance.ravel()
    close = alive[first] & alive[second] & (distance <= limit * 1.01 * _unit_of(units, first, second))
    pairs: Ints = np.sort(np.stack([first[close], second[close]], axis=1), axis=1)
    return pairs


def _components(first: Ints, second: Ints, images: int) -> Ints:
    """For each content `[N]` the smallest that it is linked to, directly or by way of others."""
    parent = list(range(images))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.array([root(i) for i in range(images)], dtype=np.int64)


def smallest_cosine(seen: Mapping[str, Seen], members: Ints) -> dict[str, float]:
    """By backbone the smallest cosine between two of the contents `members` `[M]`."""
    first, second = (members[i] for i in np.triu_indices(len(members), 1))
    return {name: round(1 - float(between(one.rows, first, second).max()), 6) for name, one in seen.items()}
