"""Rows on their way into a store: narrowed to their stored type, then committed about once a second."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import NonFiniteError
from featcache.records import Manifest
from featcache.store.part_files import Features, Parts

COMMIT_SECONDS = 1.0  # rows in flight are at most those of this time
MAX_FLOAT16 = 65504 / 8  # room for later rows to be larger than those seen first
MAX_RELATIVE_ERROR = 1e-3  # of a row's norm, when rounded to float16: 2^-11 unless values are subnormal


class RowWriter:
    """Commits rows to one store; made by `FeatureStore.writing`.

    `extraction`, `profiles` and `manifest` go into the file with the rows, when the writer is done.
    """

    def __init__(self, parts: Parts, wanted: str, stored: str) -> None:
        self._parts = parts
        self._wanted = wanted
        self._pending: dict[str, list[tuple[str, Features]]] = {}
        self._last = time.monotonic()
        self.dtype = stored
        self.committed = 0  # rows
        self.precision_loss: dict[str, float] = {}
        self.extraction: dict[str, Any] = {}
        self.profiles: dict[str, Any] = {}
        self.manifest: Manifest | None = None

    def append(self, sha256: Sequence[str], features: NDArray[np.float32], spec: str | None = None) -> None:
        """Rows `[n, F]` (or `[n, V-1, F]` with a spec) for these contents; committed within about a second.

        Raises NonFiniteError that names the contents whose features are not finite; they are not stored.
        """
        finite: list[bool] = np.isfinite(features).reshape(len(features), -1).all(axis=1).tolist()  # type: ignore[assignment]
        if not all(finite):
            raise NonFiniteError(",".join(s for s, ok in zip(sha256, finite, strict=True) if not ok))
        stored = self._narrow(features)
        self._pending.setdefault(spec or "", []).extend(zip(sha256, stored, strict=True))
        if time.monotonic() - self._last >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Everything appended so far survives a kill or a power cut from here on."""
        for spec in sorted(self._pending):  # "" first: views point at base rows
            rows = self._pending[spec]
            self._parts.write(spec, [s for s, _ in rows], np.stack([f for _, f in rows]))
            self.committed += len(rows)
            del self._pending[spec]
        self._last = time.monotonic()

    def _narrow(self, features: NDArray[np.float32]) -> Features:
        """`features` in the type that rows are stored in.

        With `auto`, a row is rounded to float16 where that loses nothing that matters, whatever the rows beside it; the
        first that would lose makes the whole dataset float32, in which the rounded ones stay what they are.
        """
        if self._wanted == "float32":
            return features.astype(np.float32)
        with np.errstate(over="ignore"):
            narrow = features.astype(np.float16)
            rounded = narrow.astype(np.float32)
            norm = np.linalg.norm(features, axis=-1)
            error = np.linalg.norm(rounded - features, axis=-1) / np.maximum(norm, 1e-30)
        if self._wanted == "float16" and not np.isfinite(narrow).all():
            raise NonFiniteError(f"features up to {np.abs(features).max():.3g} do not fit cache.dtype float16 (65504)")
        each = tuple(range(1, features.ndim))
        error = error.reshape(len(features), -1).max(axis=1)
        fits = (np.abs(features).max(axis=each) <= MAX_FLOAT16) & (error <= MAX_RELATIVE_ERROR)
        if self._wanted == "float16":
            fits[:] = True
        if fits.any():
            loss = {"max_abs": float(np.abs(features[fits]).max()), "max_relative_error": float(error[fits].max())}
            self.precision_loss = {k: max(v, self.precision_loss.get(k, 0.0)) for k, v in loss.items()}
        if not fits.all():
            self.dtype = "float32"
        if self.dtype == "float32":
            return np.where(fits.reshape(-1, *(1 for _ in each)), rounded, features).astype(np.float32)
        self.dtype = "float16"
        return narrow
