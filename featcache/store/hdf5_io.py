"""The file object that HDF5 writes through, which never fails: HDF5 crashes the process when a write does.

What cannot be written any more, because the disk is full, is held in memory until the file is closed; then the error
is raised, and the file is not used.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from featcache.store.file_seal import BLOCK
from featcache.store.plain_structure import require_plain


class UnfailingFile(io.RawIOBase):
    """The file at `path` for reading and writing; `error` is the first that writing met."""

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._size = os.fstat(self._file).st_size
        self._place = 0
        self._held: list[tuple[int, bytes]] = []  # written after the error: offset, bytes

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read or written."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, as far as the file goes."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._place))
        data = os.pread(self._file, count, self._place)
        target[:count] = data.ljust(count, b"\0")
        for offset, held in self._held:
            start, stop = max(offset, self._place), min(offset + len(held), self._place + count)
            if start < stop:
                target[start - self._place : stop - self._place] = held[start - offset : stop - offset]
        self._place += count
        return count

    def write(self, data: Any) -> int:
        """Write all of `data`, or hold it."""
        source = memoryview(data).cast("B")
        done = 0
        while self.error is None and done < len(source):
            try:
                done += os.pwrite(self._file, source[done:], self._place + done)
            except OSError as error:
                self.error = error
        if done < len(source):
            self._held.append((self._place + done, bytes(source[done:])))
        self._place += len(source)
        self._size = max(self._size, self._place)
        return len(source)

    def truncate(self, size: int | None = None) -> int:
        """Make the file `size` bytes long."""
        self._size = self._place if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._file, self._size)
            except OSError as error:
                self.error = error
        return self._size

    def close(self) -> None:
        """Give the file back."""
        if not self.closed:
            os.close(self._file)
        super().close()


@contextmanager
def editing(path: Path) -> Iterator[tuple[h5py.File, UnfailingFile]]:
    """The HDF5 file at `path`, made where it is not there; raises OSError at the end when something was not written."""
    new = not path.exists()
    with UnfailingFile(path) as target:
        # v112: checksums in the file's own structures.
        with h5py.File(target, "w" if new else "r+", libver="v112", userblock_size=BLOCK if new else None) as file:
            if not new:
                require_plain(file, path)
            yield file, target
        if target.error is not None:
            raise target.error
