"""Paths in, content hashes (sha256) out: remembered by path, size and modification time, nothing is read twice."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from featcache.atomic import write_text
from featcache.errors import DiskFullError

log = logging.getLogger("featcache")


class HashMemo:
    """The content hash of each file under `root`, and which contents are known to be unreadable.

    It is only a memo: losing the file costs one more reading, so concurrent writers may overwrite each other.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._files: dict[str, list[int | str]] = {}
        self._bad: dict[str, str] = {}
        self._transient: dict[str, str] = {}
        self._changed = False
        try:
            memo = json.loads(file.read_text())
            files, bad = dict(memo["files"]), dict(memo["bad"])
            if all(isinstance(entry, list) and len(entry) == 3 for entry in files.values()):
                self._files, self._bad = files, bad
        except (OSError, ValueError, KeyError, TypeError):
            pass  # absent or damaged: start afresh

    def sha256(self, paths: Sequence[Path], workers: int) -> list[str]:
        """The sha256 (hex) of each file's bytes, in the order of `paths`; raises OSError as `open` does."""
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self._one, paths, chunksize=64))

    def bad_reason(self, sha256: str, reader: str) -> str | None:
        """Why this content could not be read by `reader` (a decoder's version) before, if it could not."""
        return self._transient.get(sha256) or self._bad.get(f"{reader}:{sha256}")

    def remember_bad(self, sha256: str, reader: str, reason: str) -> None:
        """This content cannot be read by `reader`."""
        self._bad[f"{reader}:{sha256}"] = reason
        self._changed = True

    def remember_unread(self, sha256: str, reason: str) -> None:
        """This content could not be read from the disk just now: bad for this run, tried again in the next."""
        self._transient[sha256] = reason

    def forget(self, path: Path) -> None:
        """This file is not what it was, whatever its size and time say: hash it again."""
        self._files.pop(_key(path), None)
        self._changed = True

    def save(self) -> None:
        """Write the memo, when it has anything new. It is only a memo: a full disk does not stop the work."""
        if not self._changed:
            return
        try:
            write_text(self.file, json.dumps({"files": self._files, "bad": self._bad}))
        except DiskFullError as error:
            log.warning("content hashes are not remembered: %s", error)
        else:
            self._changed = False

    def _one(self, path: Path) -> str:
        stat = path.stat()
        key = _key(path)
        known = self._files.get(key)
        if known is not None and known[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(known[2])
        with path.open("rb") as file:
            value = hashlib.file_digest(file, "sha256").hexdigest()
        self._files[key] = [stat.st_size, stat.st_mtime_ns, value]
        self._changed = True
        return value


def _key(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "surrogateescape")
