"""Who may do what with a store at once. The operating system frees a lock when its process dies.

One process extracts at a time and holds `extracting` for as long as that takes; `rewriting` is held for the moment in
which the file is replaced; whoever works with a store holds `use`, which any number may share, and pruning takes it
for itself.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from featcache.atomic import make_folder

FOLDER = "locks"


class StoreLocks:
    """The locks of one store, in `locks/` beside it."""

    def __init__(self, store: Path) -> None:
        self._folder = store.parent / FOLDER
        self._stem = store.stem
        self._extracting = FileLock(self._folder / f"{store.stem}.extracting")
        self._rewriting = FileLock(self._folder / f"{store.stem}.rewriting")
        self._held = False

    @contextmanager
    def extracting(self, waiting: Callable[[str], None]) -> Iterator[None]:
        """The one extractor of this store; tells `waiting` when there is another."""
        with self._holding(self._extracting, waiting):
            yield

    @contextmanager
    def rewriting(self) -> Iterator[None]:
        """The one that replaces the file, for a moment."""
        with self._holding(self._rewriting, lambda _: None):
            yield

    def hold(self) -> None:
        """Share the store with others until this object or its process is gone; nobody prunes it meanwhile."""
        if not self._held:
            use = self._open_use()
            weakref.finalize(self, os.close, use)
            # filelock's shared lock has to be released by its thread; this one goes with the open file.
            fcntl.flock(use, fcntl.LOCK_SH)
            self._held = True

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody uses the store; if so, nobody begins to until the block ends."""
        use = self._open_use()
        try:
            fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(use)

    def _open_use(self) -> int:
        make_folder(self._folder)
        return os.open(self._folder / f"{self._stem}.use", os.O_RDWR | os.O_CREAT, 0o666)

    @contextmanager
    def _holding(self, lock: FileLock, waiting: Callable[[str], None]) -> Iterator[None]:
        make_folder(self._folder)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting(f"{self._stem}: another process is extracting it; waiting for it to finish")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
