"""The batches of an epoch of the heads of a stack: which rows each step takes, and what each image counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction import Indices
from heads.training.class_weights import Shares


@dataclass(frozen=True)
class Batches:
    """The order of an epoch for each head, a whole number of batches: `[K, steps x B]`."""

    rows: Indices  # of the block's features
    labels: Indices
    share: NDArray[np.float32]  # of an image in its batch's mean; 0 for what only fills the last batch up
    images: Indices  # [K]: how many are real
    of_pool: Indices  # which images of the pool they are
    weighted: Shares | None = None  # where classes or images weigh differently


def padded(rows: Sequence[Indices], length: int) -> Indices:
    """Rows of one length, zeros behind what they have."""
    return np.stack([np.pad(own, (0, length - len(own))) for own in rows])
