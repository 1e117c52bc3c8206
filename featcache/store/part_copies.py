"""Parts of a store in an object store as files of this machine: fetched once, checked, the longest unused dropped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from featcache.errors import StoreError
from featcache.store.part_building import file_digest, temporary_file
from featcache.store.part_records import Stored
from featcache.store.shared_place import SharedPlace

T = TypeVar("T")
MOST_GB = 64.0
TRIES = 3


class PartCopies:
    """The files of one store; those of a shared folder are read where they are."""

    def __init__(self, place: SharedPlace, folder: Path, most_gb: float = MOST_GB) -> None:
        self.place = place
        self.folder = folder
        self._most_bytes = int(most_gb * 1e9)
        self._fetching = threading.Lock()

    def reading(self, stored: Stored, read: Callable[[Path], T]) -> T:
        """What `read` makes of the file; a copy that another process dropped just now is fetched again.

        Raises StoreError where the file is gone, or is not the one that was put.
        """
        for _ in range(TRIES):
            file = self.place.file_of(stored.file) or self._copy(stored)
            try:
                return read(file)
            except FileNotFoundError:
                if self.place.file_of(stored.file) is not None:
                    break
        raise self._gone(stored)

    def forget(self, stored: Stored) -> None:
        """The copy is not to be trusted: the next reader fetches it."""
        (self.folder / stored.file).unlink(missing_ok=True)

    def _copy(self, stored: Stored) -> Path:
        copy = self.folder / stored.file
        with self._fetching:
            if not copy.exists():
                self._make_room(stored.size)
                self._fetch(stored, copy)
            with suppress(FileNotFoundError):
                os.utime(copy)  # used now
        return copy

    def _fetch(self, stored: Stored, copy: Path) -> None:
        with temporary_file(self.folder, stored.file) as temporary:
            try:
                self.place.fetch(stored.file, temporary)
            except FileNotFoundError:
                raise self._gone(stored) from None
            if file_digest(temporary) != stored.sha256:
                raise StoreError(
                    f"{self.place.name}/{stored.file}: is not what was put there. Run `featcache cache verify "
                    "--repair`: it drops the part, and only its rows are extracted again."
                )
            temporary.replace(copy)

    def _make_room(self, size: int) -> None:
        """Copies of every store of this cache together stay below the limit, this one's size counted."""
        files = []
        for file in self.folder.parent.glob("*/part-*"):
            with suppress(FileNotFoundError):
                files.append((file.stat().st_mtime, file.stat().st_size, file))
        total = size + sum(one for _, one, _ in files)
        for _, one, file in sorted(files):
            if total <= self._most_bytes:
                return
            file.unlink(missing_ok=True)
            total -= one

    def _gone(self, stored: Stored) -> StoreError:
        return StoreError(
            f"{self.place.name}/{stored.file}: is gone, though the manifest names it. Run `featcache cache verify "
            "--repair`: it drops the part, and only its rows are extracted again."
        )
