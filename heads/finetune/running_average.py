"""Running averages of the weights that train, which are often better than the weights themselves: exponential ones of
every update (EMA), or equal ones of the ends of epochs (SWA)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

Share = Callable[[int], float]  # of the way to the newest values that update t goes, t from 1 on


def exponential(decay: float) -> Share:
    """Polyak and Juditsky 1992, as in Szegedy et al. 2016: the decay of update t is at most (1 + t) / (10 + t), so that
    the first weights do not linger."""
    return lambda t: 1 - min(decay, (1 + t) / (10 + t))


def equal(t: int) -> float:
    """All count the same (SWA: Izmailov et al. 2018, algorithm 1)."""
    return 1 / t


class RunningAverage:
    """A running average of some tensors, by name."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._updates = 0
        self._average: dict[str, Tensor] = {}

    @property
    def updates(self) -> int:
        """How many there were."""
        return self._updates

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor]) -> None:
        """Move towards `values`; one that is new starts as it is. What is no float (a counter) is copied."""
        self._updates += 1
        moving = [n for n, v in values.items() if n in self._average and v.is_floating_point()]
        if moving:
            share = self._share(self._updates)
            torch._foreach_lerp_([self._average[n] for n in moving], [values[n] for n in moving], share)
        self.put({n: values[n] for n in values.keys() - set(moving)})

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Hold `values`, in place of any average of them."""
        self._average.update({n: v.detach().clone() for n, v in values.items()})

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
