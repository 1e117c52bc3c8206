"""What the frozen part of a network gave, kept for every training of a run that goes on from the same block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import nn

from heads.finetune.batch_inputs import InputSource, KeptInMemory

Kept = tuple[InputSource, nn.Module | None, str]  # inputs, the module that goes on from there, and where they are kept


@dataclass(frozen=True)
class KeptInputs:
    """By the views of the images and the first block that trains. Folds and trials share what is kept, since frozen
    blocks are the same in all of them. The earliest make room where more than `limit_bytes` would be held in memory."""

    limit_bytes: float
    views: str = ""
    _known: dict[tuple[str, int], Kept | None] = field(default_factory=dict)

    def of_views(self, views: str) -> KeptInputs:
        """What is kept of other views, within the same limit."""
        return replace(self, views=views)

    def of(self, first: int, make: Callable[[], Kept | None]) -> Kept | None:
        """What is kept in front of block `first`, made where it is not there yet."""
        if (self.views, first) not in self._known:
            self._known[self.views, first] = make()
        return self._known[self.views, first]

    def make_room(self, size: float) -> None:
        """Forget the earliest, until so many bytes more can be held."""
        while self._known and self._held() + size > self.limit_bytes:
            del self._known[next(iter(self._known))]

    def _held(self) -> float:
        return float(sum(k[0].values.nbytes for k in self._known.values() if k and isinstance(k[0], KeptInMemory)))
