"""Which validation images a head had right after every epoch: bits, epoch by epoch, on the host."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Of one head and epoch: who was right `[2, V]`, the selection metric `[V]` where it is another one, the losses `[V]`,
# and by name each image's part of the metrics of the whole split that were asked for beside it `[V]`.
Seen = tuple[NDArray[np.bool_], NDArray[np.float32] | None, NDArray[np.float32], dict[str, NDArray[np.float32]]]


@dataclass
class EpochOutcomes:
    """What one head gave on its V validation images (of its fold, in the fold's order), epoch by epoch."""

    images: int  # V
    bits: list[NDArray[np.uint8]] = field(default_factory=list)  # of each epoch `[2, V / 8]`: top-1 and top-3
    values: list[NDArray[np.float32]] = field(default_factory=list)  # of each epoch `[V]`; see `selected`
    loss: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # `[V]`, in the best epoch
    further: dict[str, NDArray[np.float32]] = field(default_factory=dict)  # `[V]` likewise, of metrics asked for beside

    def add(self, seen: Seen, best: bool) -> None:
        """Add an epoch, and whether it is the best so far."""
        tops, values, loss, further = seen
        self.bits.append(np.packbits(tops, axis=-1))
        if values is not None:
            self.values.append(values)
        if best:
            self.loss = loss.copy()
            self.further = {name: own.copy() for name, own in further.items()}

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images were right, bool `[2, E, V]`: the label first, the label among the first three."""
        every = np.stack(self.bits, axis=1) if self.bits else np.zeros((2, 0, 0), np.uint8)
        return np.unpackbits(every, axis=-1, count=self.images).view(np.bool_)

    @property
    def selected(self) -> NDArray[np.float32] | None:
        """The selection metric image by image, larger better, `[E, V]`; None where it is top-1 or top-3."""
        return np.stack(self.values) if self.values else None
