"""Which part holds the row of a content: 40 bytes a row, so that ten million rows need 400 MB."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.store.part_files import hash_bytes

Places = NDArray[np.int64]


class RowIndex:
    """The rows of several parts in a row: of a content that is in two, the first counts."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        lengths = np.array([len(part) for part in parts], np.int64)
        self.starts: Places = np.cumsum(lengths) - lengths  # of each part, copies counted
        hashes = np.concatenate(parts) if len(parts) else np.empty((0, 32), np.uint8)
        keys = _keys(hashes)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.ones(len(keys), bool)
        first[1:] = keys[1:] != keys[:-1]
        self._keys = keys[first]
        self._places: Places = order[first]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, sha256: Sequence[str]) -> Places:
        """The place of each content among all rows, copies counted; -1 where there is none."""
        if not len(self._keys) or not len(sha256):
            return np.full(len(sha256), -1, np.int64)
        wanted = _keys(hash_bytes(sha256))
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, self._places[at], -1)

    def part_of(self, places: Places) -> Places:
        """The number of the part that each place is in."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def in_order(self) -> dict[str, int]:
        """Content hash -> row, as if all parts were one file that has each content once."""
        order = np.argsort(self._places)
        hashes = self._keys.view(np.uint8).reshape(-1, 32)[order]
        return {one.tobytes().hex(): row for row, one in enumerate(hashes)}


def _keys(hashes: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """`[N, 32]` bytes as N values that numpy sorts."""
    return np.ascontiguousarray(hashes).view("S32").reshape(-1)
