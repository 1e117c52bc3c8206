"""Features of images by one frozen network: rows of its store where there are any, else the network itself."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.backbones import Backbone
from featcache.data import Decoder, Task
from featcache.devices import has_tf32
from featcache.errors import StoreError
from featcache.extraction import Inference, batch_on_record, decoded_blocks
from featcache.options import Options
from featcache.records import Identity
from featcache.session import Session
from featcache.store import FeatureStore

log = logging.getLogger("featcache")


class PartFeatures:
    """What one backbone of a run gives for contents; it is only built where a store lacks some."""

    def __init__(
        self,
        identity: Identity,
        store: FeatureStore | None,
        build: Callable[[], Backbone],
        options: Options,
        session: Session,
        images_a_pass: int | None = None,
    ) -> None:
        self.store = store
        self._images_a_pass = images_a_pass
        self._identity, self._build, self._options, self._session = identity, build, options, session

    def known(self, contents: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The rows that the store has of these content hashes."""
        there = [sha256 for sha256 in contents if sha256 in self._rows]
        if self.store is None or not there:
            return {}
        return dict(zip(there, self.store.read(there), strict=True))

    def compute(
        self, tasks: Sequence[Task], failed: dict[str, str], advance: Callable[[int], None]
    ) -> Mapping[str, NDArray[np.float32]]:
        """Features by content hash, as a store would keep them; why an image cannot be read goes to `failed`."""
        found: dict[str, NDArray[np.float32]] = {}
        for block in decoded_blocks(self._decoder, tasks, self._inference):
            readable = [one for one in block if one.images is not None]
            failed |= {one.task.sha256: str(one.error) for one in block if one.images is None}
            if readable:
                images = torch.stack([one.images[0] for one in readable if one.images is not None])
                rows = self._as_stored(self._inference(images).numpy())
                found |= {one.task.sha256: row for one, row in zip(readable, rows, strict=True)}
            advance(len(block))
        return found

    def warm_up(self) -> None:
        """Build the network and try it out, which the first image would wait for otherwise."""
        _ = self._inference, self._decoder, self._rows

    def input_of(self, task: Task) -> Task | Tensor:
        """What is needed of one image: its pixels, uint8 `[3, S, S]`; the task alone where the store has its row.

        Many threads may ask at once. Raises UnreadableImageError.
        """
        return task if task.sha256 in self._rows else self._pixels(task)

    def features(self, inputs: Sequence[Task | Tensor]) -> NDArray[np.float32]:
        """Features `[n, F]` of what `input_of` gave: rows are read together, pixels go through the network together."""
        known: dict[str, NDArray[np.float32]] = {}
        with contextlib.suppress(StoreError):  # pruned or damaged meanwhile: the network gives the same
            known = self.known([one.sha256 for one in inputs if isinstance(one, Task)])
        rows = [known.get(one.sha256) if isinstance(one, Task) else None for one in inputs]
        images = [
            self._pixels(one) if isinstance(one, Task) else one
            for one, row in zip(inputs, rows, strict=True)
            if row is None
        ]
        fresh: Iterator[NDArray[np.float32]] = iter(())
        if images:
            fresh = iter(self._as_stored(self._inference(torch.stack(images)).numpy()))
        return np.stack([next(fresh) if row is None else row for row in rows])

    def _pixels(self, task: Task) -> Tensor:
        decoded = self._decoder.decode(task)
        assert decoded.images is not None
        return decoded.images[0]

    def _as_stored(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rounded as rows of the store are, so that an answer does not depend on whether an image is in the cache."""
        rounded = rows.astype(self._dtype).astype(np.float32)
        return np.where(np.isfinite(rounded).all(axis=1, keepdims=True), rounded, rows)

    @cached_property
    def _dtype(self) -> np.dtype[np.floating[Any]]:
        """Of rows in the store: it is asked when the first row is made, since telling what is like the training images
        may have begun the store meanwhile."""
        return _stored_dtype(self._identity, self.store)

    @cached_property
    def _rows(self) -> dict[str, int]:
        try:
            return {} if self.store is None else self.store.rows()
        except StoreError:  # damaged: the network gives the same
            return {}

    @cached_property
    def _backbone(self) -> Backbone:
        return self._build()

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(
            self._backbone.preprocessing,
            (),
            self._options.data.workers,
            self._session.scratch,
            processes=self._options.data.decoders == "processes",
            timeout_s=self._options.data.decode_timeout_s,
        )

    @cached_property
    def _inference(self) -> Inference:
        cache, device = self._options.cache, self._session.device
        found = self._images_a_pass
        if found is None and cache.batch_size == "auto" and self.store is not None and self.store.exists():
            found = batch_on_record(self.store.extraction(), device)
        backbone = self._backbone
        if backbone.info.identity.precision == "tf32" and not has_tf32(device):
            log.warning(
                "%s: the run computes in TensorFloat-32, which %s has not: here it is float32, which is near it",
                backbone.info.identity.backbone,
                device,
            )
            backbone = backbone.at("float32")  # of answers only: nothing of this is stored
        return Inference(backbone, device, found or cache.images_a_pass, cache.compile)


def _stored_dtype(identity: Identity, store: FeatureStore | None) -> np.dtype[np.floating[Any]]:
    """The type of rows in the store; "auto" is decided by rows that are there."""
    if store is not None and store.exists():
        return np.dtype(store.dtype())
    return np.dtype("float32" if identity.dtype == "auto" else identity.dtype)
