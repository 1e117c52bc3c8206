"""Options that are searched in, places in a unit cube out, and back: what climbs needs distances that compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """A point: where it lies in each range, 0 to 1, and which choice it has of each of the other options."""

    ranges: Vector
    choices: tuple[int, ...]


class OptionPlaces:
    """The ranges and choices of a space."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self.ranges = [k for k, d in space.items() if not isinstance(d, CategoricalDistribution)]
        self.choices = {k: len(d.choices) for k, d in space.items() if isinstance(d, CategoricalDistribution)}

    def params(self, place: Place) -> dict[str, Any]:
        """The options at a place, on the grids of ranges that have one."""
        found: dict[str, Any] = {
            k: _from_unit(self._space[k], u) for k, u in zip(self.ranges, place.ranges, strict=True)
        }
        for key, index in zip(self.choices, place.choices, strict=True):
            distribution = self._space[key]
            assert isinstance(distribution, CategoricalDistribution)
            found[key] = distribution.choices[index]
        return {key: found[key] for key in self._space}

    def place(self, params: Mapping[str, Any]) -> Place:
        """Where options lie: in the middle of a range and at the first choice for what is missing or outside."""
        ranges = [_to_unit(self._space[k], params.get(k)) for k in self.ranges]
        return Place(np.array(ranges), tuple(_index(self._space[k], params.get(k)) for k in self.choices))

    def spread(self, units: Sequence[float]) -> Place:
        """The place of numbers from 0 to 1, one for each range and then each choice."""
        own, others = units[: len(self.ranges)], units[len(self.ranges) :]
        picks = tuple(min(int(u * n), n - 1) for u, n in zip(others, self.choices.values(), strict=True))
        return Place(np.array(own, dtype=np.float64), picks)


def _index(distribution: BaseDistribution, value: Any) -> int:
    assert isinstance(distribution, CategoricalDistribution)
    alike = (c == value and isinstance(c, bool) == isinstance(value, bool) for c in distribution.choices)
    return next((i for i, same in enumerate(alike) if same), 0)


def _to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Where a value lies in its range, 0 to 1; the middle for none, or for one outside."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return 0.5
    low, high, x = float(distribution.low), float(distribution.high), float(value)
    if distribution.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return (x - low) / (high - low)


def _from_unit(distribution: BaseDistribution, unit: float) -> float | int:
    """The value at a place of its range, on its grid where it has one."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
    else:
        value = low + unit * (high - low)
    if distribution.step:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value
