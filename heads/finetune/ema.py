"""The exponential moving average (EMA) of weights that train, which is often better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightEMA:
    """An exponential moving average of some tensors, by name (Polyak and Juditsky 1992, as in Szegedy et al. 2016).

    The decay of update t is at most (1 + t) / (10 + t), so that the first weights do not linger.
    """

    def __init__(self, decay: float) -> None:
        self._decay = decay
        self._updates = 0
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Move towards `values`; one that is new starts as it is. What is no float (a counter) is copied."""
        self._updates += 1
        weight = 1 - min(self._decay, (1 + self._updates) / (10 + self._updates))
        moving = [n for n, v in values.items() if n in self._average and v.is_floating_point()]
        if moving:
            torch._foreach_lerp_([self._average[n] for n in moving], [values[n] for n in moving], weight)
        for name in values.keys() - set(moving):
            self._average[name] = values[name].detach().clone()

    @contextmanager
    @torch.no_grad()
    def in_place_of(self, values: Mapping[str, Tensor]) -> Iterator[None]:
        """`values` hold their averages inside the block."""
        kept = {n: v.detach().clone() for n, v in values.items() if n in self._average}
        for name in kept:
            values[name].copy_(self._average[name])
        try:
            yield
        finally:
            for name, value in kept.items():
                values[name].copy_(value)

    def state(self) -> dict[str, object]:
        """What `restore` takes."""
        return {"updates": self._updates, "average": dict(self._average)}

    def restore(self, state: Mapping[str, object], device: torch.device) -> None:
        """Go on from a `state`."""
        updates, average = state["updates"], state["average"]
        assert isinstance(updates, int) and isinstance(average, dict)
        self._updates = updates
        self._average = {n: t.to(device) for n, t in average.items()}
