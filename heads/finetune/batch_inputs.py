"""Batches in, the inputs of their steps out: decoded images, or what the frozen trunk gave for them, kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.data import Decoded as Outcome
from featcache.data import Decoder, Task
from featcache.errors import WorkError
from featcache.extraction import Indices
from featcache.records import ImageRecord
from featcache.store import FeatureStore


@dataclass(frozen=True)
class Batch:
    """Some images of a pool, by index, and which view of each is taken."""

    images: Indices
    views: Indices


class InputSource(Protocol):
    """Inputs of batches, in their order, on the device."""

    def inputs(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """The inputs of each batch, one row for each image."""


@dataclass(frozen=True)
class KeptInMemory:
    """Rows `[R, F]` that are in memory: the views of each image one after the other, from `first` on."""

    values: NDArray[np.float32]
    first: Indices
    device: torch.device

    def inputs(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Rows of each batch."""
        for batch in batches:
            yield _upload(torch.from_numpy(self.values[self.first[batch.images] + batch.views]), self.device)


@dataclass(frozen=True)
class KeptInStore:
    """Rows that are read from a store, batch by batch."""

    store: FeatureStore
    spec: str | None
    images: tuple[ImageRecord, ...]
    device: torch.device

    def inputs(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Rows of each batch."""
        for batch in batches:
            values = np.empty((len(batch.images), self.store.info.features), np.float32)
            for place in (np.flatnonzero(batch.views == 0), np.flatnonzero(batch.views)):
                if not len(place):
                    continue
                hashes = [self.images[i].sha256 for i in batch.images[place]]
                if batch.views[place[0]] == 0:
                    values[place] = self.store.read(hashes)
                else:
                    rows = self.store.read(hashes, self.spec)
                    values[place] = rows[np.arange(len(place)), batch.views[place] - 1]
            yield _upload(torch.from_numpy(values), self.device)


@dataclass(frozen=True)
class DecodedInputs:
    """Images uint8 `[N, 3, S, S]`, decoded by threads while the batch before is worked on where that helps."""

    decoder: Decoder
    images: tuple[ImageRecord, ...]
    device: torch.device

    def inputs(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Images of each batch."""
        tasks = [
            Task(image.sha256, image.place, (int(view),))
            for batch in batches
            for image, view in zip((self.images[i] for i in batch.images), batch.views, strict=True)
        ]
        size = len(batches[0].images) if batches else 1
        blocks = self.decoder.blocks(tasks, size, size, ahead=self.device.type != "cpu")
        views = (self._view(one) for block in blocks for one in block)
        for batch in batches:
            yield _upload(torch.stack(list(islice(views, len(batch.images)))), self.device)

    def _view(self, one: Outcome) -> Tensor:
        if one.images is None:
            name = next(i.name for i in self.images if i.sha256 == one.task.sha256)
            raise WorkError(
                f"{name}: could be read when the run began and cannot be read now ({one.error}). Bring it back, or run "
                "again: what cannot be read is left out then."
            )
        return one.images[0]


def _upload(rows: Tensor, device: torch.device) -> Tensor:
    return rows.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else rows.to(device)
