"""Decoded images on disk for the length of one command, so that twelve backbones decode each image once."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger("featcache")

SPARE_BYTES = 2 << 30  # of the disk that are left to rows and to whoever else writes


class Scratch:
    """Tensors by key in a nameless file, which is gone when the process is, however it ends.

    Reading and writing go past the process's memory, so that it does not grow with the number of images. What does not
    fit `max_bytes` or the disk is not kept, and is decoded again.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._left = max_bytes
        self._end = 0
        self._slots: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._file: int | None = None

    def get(self, key: bytes, shape: tuple[int, ...]) -> Tensor | None:
        """The uint8 tensor kept under `key`."""
        offset = self._slots.get(key)
        if offset is None or self._file is None:
            return None
        tensor = torch.empty(shape, dtype=torch.uint8)
        if os.preadv(self._file, [tensor.numpy().data.cast("B")], offset) != tensor.numel():
            return None
        return tensor

    def put(self, key: bytes, tensor: Tensor) -> None:
        """Keep a uint8 tensor, where there is room."""
        data = tensor.contiguous().numpy().data.cast("B")
        with self._lock:
            if key in self._slots or len(data) > self._left:
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
        self._left = 0  # what is kept stays; the rest is decoded by each backbone
        log.info("decoded images are no longer kept for the next backbone: %s", error)

    def close(self) -> None:
        """Give the disk space back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._slots.clear()
