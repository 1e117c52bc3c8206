"""Which validation images a head had right after every epoch: gathered on the device, kept as bits on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads.training.head_spec import HeadSpec
from heads.training.metrics import find_metric

TOPS = ("top1", "top3")


@dataclass
class EpochOutcomes:
    """What one head gave on its V validation images (of its fold, in the fold's order), epoch by epoch."""

    images: int  # V
    bits: list[NDArray[np.uint8]] = field(default_factory=list)  # of each epoch `[2, V / 8]`: top-1 and top-3
    values: list[NDArray[np.float32]] = field(default_factory=list)  # of each epoch `[V]`; see `selected`

    def add(self, tops: NDArray[np.bool_], values: NDArray[np.float32] | None) -> None:
        """Add an epoch: who was right `[2, V]`, and the selection metric `[V]` where it is another one."""
        self.bits.append(np.packbits(tops, axis=-1))
        if values is not None:
            self.values.append(values)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which images were right, bool `[2, E, V]`: the label first, the label among the first three."""
        every = np.stack(self.bits, axis=1) if self.bits else np.zeros((2, 0, 0), np.uint8)
        return np.unpackbits(every, axis=-1, count=self.images).view(np.bool_)

    @property
    def selected(self) -> NDArray[np.float32] | None:
        """The selection metric image by image, larger better, `[E, V]`; None where it is top-1 or top-3."""
        return np.stack(self.values) if self.values else None


class OutcomeBuffer:
    """One epoch's outcomes of the heads of a stack on the device; each epoch overwrites the one before."""

    def __init__(self, heads: Sequence[HeadSpec], images: Sequence[int], device: torch.device) -> None:
        """`images[f]`: how many validation images fold f has."""
        self._images = [images[h.fold] for h in heads]
        self.width = max(images)  # the place behind the last image takes what only fills a row up
        self._tops = torch.zeros(len(heads), 2, self.width + 1, dtype=torch.bool, device=device)
        chosen = [find_metric(h.training.selection_metric) for h in heads]
        self._sign = {m.name: 1.0 if m.larger_is_better else -1.0 for m in chosen if m.name not in TOPS}
        self._rows = {n: [k for k, m in enumerate(chosen) if m.name == n] for n in self._sign}
        self._valued = {row for rows in self._rows.values() for row in rows}
        shape = (len(heads), self.width + 1) if self._sign else (0, 0)
        self._values = torch.zeros(shape, device=device)

    def add(self, seats: Tensor, found: Mapping[str, Tensor]) -> None:
        """Take the metrics `[K, n]` of some images; `seats` `[K or 1, n]` are their places among their head's."""
        seats = seats.expand(len(self._tops), -1)
        tops = torch.stack([found[name].bool() for name in TOPS], dim=1)
        self._tops.scatter_(2, seats[:, None].expand_as(tops), tops)
        for name, rows in self._rows.items():
            here = torch.tensor(rows, device=seats.device)
            own = self._values[here].scatter(1, seats[here], self._sign[name] * found[name][here].float())
            self._values.index_copy_(0, here, own)

    def take(self) -> list[tuple[NDArray[np.bool_], NDArray[np.float32] | None]]:
        """Of each head what `EpochOutcomes.add` takes."""
        tops, values = self._tops.cpu().numpy(), self._values.cpu().numpy()
        return [
            (tops[k, :, :count], values[k, :count].copy() if k in self._valued else None)
            for k, count in enumerate(self._images)
        ]
