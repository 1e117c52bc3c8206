"""Which validation images a head had right after every epoch: bits, epoch by epoch, on the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TOPS = ("top1", "top3")

Classes = NDArray[np.signedinteger]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one head gave on its V validation images in one epoch."""

    tops: NDArray[np.bool_]  # [2, V]: who was right
    loss: NDArray[np.float32]  # [V]
    answers: Classes  # [V]: the class it was taken for, -1 for none
    selected: NDArray[np.float32] | None = None  # [V]: the selection metric, where it is another than top-1 and top-3
    further: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # [V]: parts of metrics asked for beside


@dataclass
class EpochOutcomes:
    """What one head gave on its V validation images (of its fold, in the fold's order), epoch by epoch."""

    images: int  # V
    bits: list[NDArray[np.uint8]] = field(default_factory=list)  # of each epoch `[2, V / 8]`: top-1 and top-3
    values: list[NDArray[np.float32]] = field(default_factory=list)  # of each epoch `[V]`; see `selected`
    taken: list[Classes] = field(default_factory=list)  # of each epoch `[V]`; see `answers`
    loss: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # `[V]`, in the best epoch
    further: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # `[V]` likewise, of metrics asked for beside

    def add(self, seen: Seen, best: bool) -> None:
        """Add an epoch, and whether it is the best so far."""
        self.bits.append(np.packbits(seen.tops, axis=-1))
        if seen.selected is not None:
            self.values.append(seen.selected)
        self.taken.append(seen.answers)
        if best:
            self.loss = seen.loss.copy()
            self.further = {name: own.copy() for name, own in seen.further.items()}

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images were right, bool `[2, E, V]`: the label first, the label among the first three."""
        every = np.stack(self.bits, axis=1) if self.bits else np.zeros((2, 0, 0), np.uint8)
        return np.unpackbits(every, axis=-1, count=self.images).view(np.bool_)

    @property
    def selected(self) -> NDArray[np.float32] | None:
        """The selection metric image by image, larger better, `[E, V]`; None where it is top-1 or top-3. Of a metric of
        the whole split each image's part (split_metric_parts.py)."""
        return np.stack(self.values) if self.values else None

    @property
    def answers(self) -> Classes:
        """The class that each image was taken for `[E, V]`, -1 for none."""
        return np.stack(self.taken) if self.taken else np.zeros((0, self.images), np.int8)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs of it, as tensors."""
        lists: dict[str, list[NDArray[Any]]] = {"bits": self.bits, "values": self.values, "taken": self.taken}
        every = {name: np.stack(own) for name, own in lists.items() if own}
        return {name: torch.from_numpy(own) for name, own in {"loss": self.loss, **every}.items()}

    @classmethod
    def restored(cls, images: int, state: Mapping[str, Tensor]) -> EpochOutcomes:
        """What gave the `state`, of a head that is judged by so many images."""

        def each_epoch(name: str) -> list[NDArray[Any]]:
            return list(state[name].numpy()) if name in state else []

        return cls(images, each_epoch("bits"), each_epoch("values"), each_epoch("taken"), state["loss"].numpy())
