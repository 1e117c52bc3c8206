"""Folders of files, on the disk or in an archive, as the layout of an image folder is looked for in them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from featcache.errors import DataError
from featcache.places import FilePlace, ImagePlace, NoPlace

# What operating systems and tools leave in folders; never data. Hidden names are passed over too.
JUNK = {"dicomdir", "thumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"}
LOST = "a link to a file that is not there"


class Folder(Protocol):
    """A folder, less what is never data; names are below the data set's root, with "/" between their parts."""

    @property
    def name(self) -> str:
        """Its own name."""

    @property
    def where(self) -> Path:
        """What messages call it."""

    def folders(self) -> list[Folder]:
        """The folders in it, by name; raises DataError where it cannot be listed."""

    def files(self) -> list[str]:
        """The names of the files in it, sorted."""

    def walk(self) -> Iterator[tuple[str, ImagePlace]]:
        """Name and place of every file below it, those of a folder in name order; raises DataError."""

    def as_root(self) -> Folder:
        """The same folder as the root that names are below."""


class DiskFolder:
    """A folder on the disk; each is entered once, so link loops end."""

    def __init__(self, path: Path, root: Path) -> None:
        self.name, self.where = path.name, path
        self._root = root

    def folders(self) -> list[Folder]:
        """The folders in it."""
        try:
            found = sorted(p for p in self.where.iterdir() if not is_junk(p.name) and p.is_dir())
        except OSError as error:
            raise unreadable(error) from None
        return [DiskFolder(p, self._root) for p in found]

    def files(self) -> list[str]:
        """The files in it."""
        found = sorted(p for p in self.where.iterdir() if p.is_file() and not is_junk(p.name))
        return [name_below(p, self._root) for p in found]

    def walk(self) -> Iterator[tuple[str, ImagePlace]]:
        """Every file below it."""
        seen: set[Path] = set()
        for place, folders, names in os.walk(self.where, followlinks=True, onerror=_refuse):
            real = Path(place).resolve()
            folders[:] = sorted(f for f in folders if not is_junk(f)) if real not in seen else []
            if real in seen:
                continue
            seen.add(real)
            for name in sorted(names):
                path = Path(place) / name
                if is_junk(name):
                    continue
                if path.is_file():
                    yield name_below(path, self._root), FilePlace.at(path)
                elif path.is_symlink():  # as git-annex leaves for a file that was not fetched
                    lost = not path.exists()
                    yield name_below(path, self._root), NoPlace(str(path), LOST) if lost else FilePlace.at(path)

    def as_root(self) -> DiskFolder:
        """With names below itself."""
        return DiskFolder(self.where, self.where)


class MemberFolder:
    """A folder of an archive; `members` are its files, by their names below it, and where they are."""

    def __init__(self, where: Path, members: dict[str, ImagePlace], prefix: str = "") -> None:
        self.name, self.where = where.name, where
        self._members, self._prefix = members, prefix  # what names have in front

    def folders(self) -> list[Folder]:
        """The folders in it."""
        return list(self._folders)

    def files(self) -> list[str]:
        """The files in it."""
        return sorted(self._prefix + name for name in self._members if "/" not in name and not is_junk(name))

    def walk(self) -> Iterator[tuple[str, ImagePlace]]:
        """Every file below it."""
        for name, place in sorted(self._members.items()):
            if not any(map(is_junk, name.split("/"))):
                yield self._prefix + name, place

    @cached_property
    def _folders(self) -> list[Folder]:
        below: dict[str, dict[str, ImagePlace]] = {}
        for name, place in self._members.items():
            first, slash, rest = name.partition("/")
            if slash and not is_junk(first):
                below.setdefault(first, {})[rest] = place
        return [MemberFolder(self.where / name, below[name], f"{self._prefix}{name}/") for name in sorted(below)]

    def as_root(self) -> MemberFolder:
        """With names below itself."""
        return MemberFolder(self.where, self._members)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is never data."""
    return name.startswith(".") or name.lower() in JUNK


def unreadable(error: OSError) -> DataError:
    """What to say of a file or folder that the system does not let us read."""
    return DataError(f"{error.filename}: cannot be read: {error.strerror}. Mend it or remove it.")


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is an error: passing over it would train on a part of the data in silence."""
    raise unreadable(error) from None


def name_below(path: Path, root: Path) -> str:
    """`path` below `root`, with "/" between its parts."""
    return printable(path.relative_to(root).as_posix())


def printable(name: str) -> str:
    """A file's name as UTF-8 that can be written anywhere, whatever bytes it holds."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC), one for all spellings that look alike: archives made on a Mac have the
    decomposed one."""
    return unicodedata.normalize("NFC", name)
