"""Near-duplicates: contents that several backbones see closer together than any two photographs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.audit.cosine_neighbours import LEAST, Matrix, Neighbours, between
from featcache.separability import Ints

KTH = 10  # the neighbour whose distance is the unit that an image's distances are measured in
KNOWN = 3 * KTH  # neighbours that are looked up, so that the unit is known still when copies are taken away
MIN_IMAGES = 3 * KTH  # with fewer the unit says nothing
FLOOR = 0.15  # of the median unit: many copies of one image must not become each other's unit
ALL_AGREE = 1.0  # of that unit: how far apart the two may be at most on any backbone
CLOSE = 0.45  # the geometric mean over backbones (docs/audit.md has the figures)
SURE = 1.5  # by so much must the evidence exceed what chance brings forth: e^-1.5 pairs, one time in five
SHARED = 0.5  # of the evidence of each further backbone: they are alike, and so are their mistakes
QUARTER = 0.763  # times its mean: the lower quartile of the mean of KTH - 1 exponential variables

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """The distinct contents as one backbone sees them."""

    rows: Matrix  # [N, F], `neighbours.directions` of the features
    neighbours: Neighbours


def near_copies(seen: Mapping[str, Seen], keep: Callable[[Ints], Bools]) -> Ints:
    """A number for each content `[N]`, the same for near-duplicates of each other.

    The unit of distance is that to an image's own 10th neighbour (local scaling: Zelnik-Manor and Perona 2004,
    "Self-Tuning Spectral Clustering"), so the rule needs no cosine that fits every network. Two contents are
    near-duplicates when they are at most `ALL_AGREE` units apart on each backbone, at most `CLOSE` as a geometric mean,
    and closer than chance brings any two of so many images in so many dimensions (`_by_chance`).

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


@dataclass(frozen=True, eq=False)
class _Around:
    """What is usual around the images, on one backbone."""

    units: NDArray[np.float64]  # [N], the distance to the 10th neighbour
    dimension: float  # in which images spread, as their neighbours' distances grow

    @classmethod
    def of(cls, neighbours: Neighbours, alive: Bools) -> _Around:
        """Among the contents that are `alive` `[N]`.

        The dimension by maximum likelihood (Levina and Bickel 2004, "Maximum Likelihood Estimation of Intrinsic
        Dimension"), from the lower quartile of its inverse over images: copies raise the upper ones.
        """
        far = neighbours.closest(KTH, alive)
        units = np.maximum(far[:, -1], FLOOR * float(np.median(far[alive, -1])))
        growth = np.log(far[alive, -1:] / far[alive, :-1]).mean(axis=1) / 2  # a cosine distance is a length squared
        return cls(units, QUARTER / max(float(np.quantile(growth, 0.25)), LEAST))


def _pairs(seen: Mapping[str, Seen], alive: Bools) -> tuple[Ints, Ints]:
    """The pairs of near-duplicates among the contents that are `alive` `[N]`, the smaller index first."""
    around = {name: _Around.of(one.neighbours, alive) for name, one in seen.items()}
    # A geometric mean below the limit takes one backbone below it, and that one has the pair among its neighbours.
    listed = [_listed(one.neighbours, around[name].units, alive) for name, one in seen.items()]
    pairs = np.unique(np.concatenate(listed), axis=0)
    first, second = pairs[:, 0], pairs[:, 1]
    nearer = np.empty((len(seen), len(first)))  # logarithm of how much nearer than a unit
    for row, (name, one) in enumerate(seen.items()):
        distance = np.maximum(between(one.rows, first, second), LEAST)
        nearer[row] = np.log(_unit_of(around[name].units, first, second) / distance)
    evidence = np.array([a.dimension / 2 for a in around.values()]) @ nearer
    close = (nearer.min(axis=0) >= -np.log(ALL_AGREE)) & (nearer.mean(axis=0) >= -np.log(CLOSE))
    close &= evidence >= _by_chance(int(alive.sum()), len(seen)) + SURE
    return first[close], second[close]


def _by_chance(images: int, backbones: int) -> float:
    """The most evidence that chance alone is expected to bring forth among N images.

    Where images are spread evenly around one, the share of its unit's ball that a neighbour leaves outside it is
    uniform, so its logarithm exceeds t for 9 exp(-t) neighbours: log(9 N) for the closest of N. In m dimensions it is
    m times the logarithm of the lengths' ratio. Further backbones add the `SHARED` part of as much.
    """
    return float(np.log((KTH - 1) * images)) * (1 + SHARED * (backbones - 1))


def _unit_of(units: NDArray[np.float64], first: Ints, second: Ints) -> NDArray[np.float64]:
    """The geometric mean of both images' units."""
    both: NDArray[np.float64] = np.sqrt(units[first] * units[second])
    return both


def _listed(neighbours: Neighbours, units: NDArray[np.float64], alive: Bools) -> Ints:
    """Pairs `[P, 2]` of neighbours that this backbone finds close enough."""
    first = np.repeat(np.arange(len(units)), neighbours.index.shape[1])
    second, distance = neighbours.index.ravel(), neighbours.distance.ravel()
    close = alive[first] & alive[second] & (distance <= CLOSE * 1.01 * _unit_of(units, first, second))
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
