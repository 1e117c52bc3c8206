"""Where the objects of a sharded store lie: small promises that a shared folder and an object store both keep.

An object is there whole or not at all, and a list that is asked for afterwards shows it. Of two that `create` one name
the first wins. Nothing else is needed: no locks, no renaming of what is there, no appending.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from featcache.atomic import make_folder, replacing, sync

NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}


@dataclass(frozen=True)
class Stamp:
    """What a list says of an object: another stamp, another content."""

    size: int  # bytes
    modified: float  # seconds since 1970; 0 where the place does not say
    tag: str


class SharedPlace(Protocol):
    """Objects by name; a name may have one folder in it (`manifest/a.json`)."""

    name: str  # for messages

    def listed(self, folder: str = "") -> dict[str, Stamp]:
        """The objects directly below a folder: name within it -> stamp."""

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """The contents of small objects; those that are gone are left out."""

    def create(self, name: str, data: bytes) -> bool:
        """Put a small object unless there is one of this name; whether this one is there now."""

    def put(self, name: str, source: Path) -> None:
        """Put a file under a name that no other content has."""

    def require_writable(self) -> None:
        """Raise a FeatcacheError where nothing can be put here."""

    def fetch(self, name: str, target: Path) -> None:
        """Copy an object to a file. Raises FileNotFoundError where there is none."""

    def file_of(self, name: str) -> Path | None:
        """The object as a file that can be read where it is; None where it has to be fetched."""

    def remove(self, names: Sequence[str]) -> None:
        """These are gone."""

    def remove_all(self) -> None:
        """Nothing is left."""


class SharedFolder:
    """A folder, of this machine or on a network: objects are renamed into place, and linked where the first wins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)

    def listed(self, folder: str = "") -> dict[str, Stamp]:
        """See SharedPlace."""
        found = {}
        try:
            with os.scandir(self.folder / folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file():
                        stat = entry.stat()
                        found[entry.name] = Stamp(stat.st_size, stat.st_mtime, f"{stat.st_mtime_ns} {stat.st_ino}")
        except FileNotFoundError:  # of an entry: removed this moment
            return found
        return found

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """See SharedPlace."""
        found = {}
        for name in names:
            try:
                found[name] = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
        return found

    def create(self, name: str, data: bytes) -> bool:
        """See SharedPlace. Where the file system has no links, two that create in the same instant are the last's."""
        path = self.folder / name
        make_folder(path.parent)
        if path.exists():
            return False
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
        try:
            temporary.write_bytes(data)
            sync(temporary)
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
        return True

    def put(self, name: str, source: Path) -> None:
        """See SharedPlace."""
        with replacing(self.folder / name) as temporary:
            shutil.copyfile(source, temporary)

    def require_writable(self) -> None:
        """See SharedPlace."""
        make_folder(self.folder)

    def fetch(self, name: str, target: Path) -> None:
        """See SharedPlace."""
        shutil.copyfile(self.folder / name, target)

    def file_of(self, name: str) -> Path | None:
        """See SharedPlace."""
        return self.folder / name

    def remove(self, names: Sequence[str]) -> None:
        """See SharedPlace."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def remove_all(self) -> None:
        """See SharedPlace. What makes it a store goes first."""
        shutil.rmtree(self.folder / "manifest", ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
