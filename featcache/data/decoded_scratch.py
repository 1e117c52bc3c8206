"""Decoded pixels kept on disk for the length of one command, so that many backbones decode each image once."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.counted_nouns import counted

log = logging.getLogger("featcache")

SPARE_BYTES = 2 << 30  # of the disk that are left to rows and to whoever else writes


class Scratch:
    """Pixels by key in a nameless file, which is gone when the process is, however it ends.

    Reading and writing go past the process's memory, so that it does not grow with the number of images. What does not
    fit `max_bytes` or the disk is not kept, and is decoded again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._left = max_bytes
        self._end = 0
        self._full = False
        self._slots: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._file: int | None = None

    def get(self, key: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """What is kept under `key`."""
        offset = self._slots.get(key)
        if offset is None or self._file is None:
            return None
        pixels = np.empty(shape, dtype=np.uint8)
        if os.preadv(self._file, [pixels.data.cast("B")], offset) != pixels.size:
            return None
        return pixels

    def put(self, key: bytes, pixels: NDArray[np.uint8]) -> None:
        """Keep pixels, where there is room."""
        data = np.ascontiguousarray(pixels).data.cast("B")
        with self._lock:
            if key in self._slots:
                return
            if len(data) > self._left:
                if not self._full:
                    self._full = True
                    log.warning(
                        "cache.max_decoded_gb or the disk is full with %s; each backbone decodes the others",
                        counted(len(self._slots), "decoded image"),
                    )
                return
            offset, self._end, self._left = self._end, self._end + len(data), self._left - len(data)
            try:
                if self._file is None:
                    self._file = self._open()
            except OSError as error:
                self._give_up(error)
                return
        try:
            if os.pwrite(self._file, data, offset) != len(data):
                raise OSError("written in part only")
        except OSError as error:
            self._give_up(error)
            return
        self._slots[key] = offset

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._left = min(self._left, shutil.disk_usage(self._folder).free - SPARE_BYTES)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return os.dup(file.fileno())

    def _give_up(self, error: OSError) -> None:
        self._left, self._full = 0, True  # what is kept stays; the rest is decoded by each backbone
        log.warning("decoded images are no longer kept for the next backbone: %s", error)

    def close(self) -> None:
        """Give the disk space back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._slots.clear()
