"""Features in memory, in place of a store's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.extraction.stored_rows import Indices, row_places


@dataclass(frozen=True)
class ArrayRows:
    """Features that are in memory already: `[R, F]`, and the place of each image's plain view in it."""

    values: NDArray[np.float32]
    first: Indices
    views: Indices

    @property
    def width(self) -> int:
        """F."""
        return int(self.values.shape[1])

    def read(self, images: Indices) -> NDArray[np.float32]:
        """The rows of these images."""
        return self.values[row_places(self.first[images], self.views[images])]
