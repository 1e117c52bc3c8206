"""Cached features resident on a device: what stage two trains on, with no loader in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featcache.extraction import Extraction
from featcache.records import ImageRecord, Split


@dataclass(frozen=True)
class SplitFeatures:
    """One split: features float32 `[N, V, F]` (view 0 is the plain image) and labels int64 `[N]`, on one device."""

    x: Tensor
    y: Tensor

    @property
    def plain(self) -> Tensor:
        """View 0: `[N, F]`."""
        return self.x[:, 0]


@dataclass(frozen=True)
class Features:
    """A data set's features by split. Training reads `train` and `val`; `test` is read once, afterwards."""

    splits: dict[Split, SplitFeatures]
    classes: int

    @classmethod
    def load(cls, extraction: Extraction, device: torch.device) -> Features:
        """Read every split of an extraction from its store onto `device`."""
        manifest = extraction.manifest
        every: Sequence[Split] = ("train", "val", "test")
        splits = {s: _load_split(extraction, manifest.of(s), s == "train", device) for s in every}
        return cls(splits, len(manifest.classes))


def _load_split(
    extraction: Extraction, images: Sequence[ImageRecord], augmented: bool, device: torch.device
) -> SplitFeatures:
    hashes = [i.sha256 for i in images]
    x = extraction.store.read(hashes)[:, None]
    if augmented and extraction.spec:
        x = np.concatenate([x, extraction.store.read(hashes, extraction.spec)], axis=1)
    labels = torch.tensor([i.label for i in images], dtype=torch.int64)
    return SplitFeatures(torch.from_numpy(x).to(device), labels.to(device))
