"""A sharded store's objects in an object store, by fsspec: `s3://`, `gs://`, `az://`, or `memory://` for trying out.

What is relied on, and has been promised since 2020 by S3, and by Google's and Azure's stores from the beginning: a put
is there whole or not at all, and a list or get that begins after it sees it. `create` is a conditional put (S3:
`If-None-Match`, since 2024); a server that has none gets a look first, and of two in the same instant the last counts.
Keys, endpoint and region are found where each library looks for them, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from featcache.errors import FeatcacheError, InputError, StoreError
from featcache.store.shared_place import Stamp

log = logging.getLogger("featcache")

T = TypeVar("T")
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each further try: a network that is gone for a minute
NEVER_AGAIN = (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError, IsADirectoryError)
NETWORK_PACKAGES = ("botocore", "aiobotocore", "aiohttp", "google", "gcsfs", "azure", "requests", "urllib3")
PROBE = ".writable"
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "memory": "fsspec"}


class ObjectStorage:
    """The objects whose names begin with a URL; see SharedPlace for what each method promises."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    @cached_property
    def _system(self) -> Any:
        """fsspec's file system, made at the first use: a process that was forked makes its own."""
        scheme = self.name.partition("://")[0]
        try:
            fsspec = importlib.import_module("fsspec")
            importlib.import_module(PACKAGES[scheme])
        except ImportError:
            raise InputError(
                f"{self.name}: needs the package {PACKAGES[scheme]}, which is not installed. Run "
                f"`pip install 'featcache[cluster]'` (s3://), or `pip install {PACKAGES[scheme]}`."
            ) from None
        return fsspec.filesystem(scheme, use_listings_cache=False)

    def _at(self, name: str) -> str:
        return f"{self.name}/{name}" if name else self.name

    def listed(self, folder: str = "") -> dict[str, Stamp]:
        """See SharedPlace."""
        with contextlib.suppress(FileNotFoundError):
            return {
                entry["name"].rstrip("/").rpartition("/")[2]: _stamp(entry)
                for entry in self._entries(folder)
                if entry["type"] == "file" and not entry["name"].endswith(PROBE)
            }
        return {}

    def folders(self) -> list[str]:
        """The names that have objects below them."""
        with contextlib.suppress(FileNotFoundError):
            found = (e for e in self._entries("") if e["type"] == "directory")
            return sorted(e["name"].rstrip("/").rpartition("/")[2] for e in found)
        return []

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            self._system.invalidate_cache()
            found: list[dict[str, Any]] = self._system.ls(self._at(folder), detail=True)
            return found

        return self._patiently(ask)

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """See SharedPlace."""
        if not names:
            return {}
        keys = {self._system._strip_protocol(self._at(name)): name for name in names}

        def ask() -> dict[str, bytes]:
            answers = self._system.cat(list(keys), on_error="return")
            answers = answers if isinstance(answers, dict) else {next(iter(keys)): answers}
            for answer in answers.values():
                if isinstance(answer, Exception) and not isinstance(answer, FileNotFoundError):
                    raise answer
            return {keys[key]: answer for key, answer in answers.items() if isinstance(answer, bytes)}

        return self._patiently(ask)

    def create(self, name: str, data: bytes) -> bool:
        """See SharedPlace."""

        def ask() -> None:
            try:
                self._system.pipe_file(self._at(name), data, mode="create")
            except (NotImplementedError, TypeError, OSError) as error:  # the server, or fsspec's part for it, has none
                if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                    raise
                if self._system.exists(self._at(name)):
                    raise FileExistsError(name) from None
                self._system.pipe_file(self._at(name), data)

        try:
            self._patiently(ask, writes=True)
        except FileExistsError:
            return self.read([name]).get(name) == data  # a first try whose answer was lost
        return True

    def put(self, name: str, source: Path) -> None:
        """See SharedPlace."""
        self._patiently(lambda: self._system.put_file(str(source), self._at(name)), writes=True)

    def require_writable(self) -> None:
        """See SharedPlace."""
        self._patiently(lambda: self._system.pipe_file(self._at(PROBE), b""), writes=True)
        self.remove([PROBE])

    def fetch(self, name: str, target: Path) -> None:
        """See SharedPlace."""
        self._patiently(lambda: self._system.get_file(self._at(name), str(target)))

    def file_of(self, name: str) -> Path | None:  # noqa: ARG002
        """See SharedPlace."""
        return None

    def remove(self, names: Sequence[str]) -> None:
        """See SharedPlace."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._patiently(lambda name=name: self._system.rm_file(self._at(name)))  # type: ignore[misc]

    def remove_all(self) -> None:
        """See SharedPlace. What makes it a store goes first."""
        for folder in ("manifest", ""):
            self.remove([f"{folder}/{name}".lstrip("/") for name in self.listed(folder)])

    def _patiently(self, ask: Callable[[], T], writes: bool = False) -> T:
        """What `ask` gives; a network that fails is asked again for a minute. Raises StoreError with what it said."""
        for wait in WAITS:
            try:
                return ask()
            except Exception as error:  # each library has exceptions of its own, and fsspec names none of them
                if not _may_pass(error):
                    raise self._as_said(error, writes) from None
                log.warning("%s: %s: %s; trying again in %g s", self.name, type(error).__name__, error, wait)
                time.sleep(wait)
        try:
            return ask()
        except Exception as error:
            raise self._as_said(error, writes) from None

    def _as_said(self, error: Exception, writes: bool) -> Exception:
        """What a user can do about it; what is not there, or there already, is for the caller to know."""
        if isinstance(error, FeatcacheError | FileExistsError) or (isinstance(error, FileNotFoundError) and not writes):
            return error
        return StoreError(
            f"{self.name}: {type(error).__name__}: {error}. Check that the bucket is there and this user may read and "
            "write it, and the keys, region and endpoint (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ..)."
        )


def _may_pass(error: Exception) -> bool:
    if isinstance(error, (FeatcacheError, *NEVER_AGAIN)) or "Credential" in type(error).__name__:
        return False
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in NETWORK_PACKAGES


def _stamp(entry: dict[str, Any]) -> Stamp:
    when = next((entry[key] for key in ("LastModified", "last_modified", "updated", "created") if key in entry), 0.0)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    tag = next((str(entry[key]) for key in ("ETag", "etag", "md5Hash", "content_md5") if key in entry), "")
    seconds = when.timestamp() if isinstance(when, datetime) else float(when or 0.0)
    return Stamp(int(entry["size"] or 0), seconds, tag or str(when))
