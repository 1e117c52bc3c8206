"""Files as tables name them become files that are there: below the table's folder, by path or by last part."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from featcache.data.sources.folder_tree import DiskFolder, printable
from featcache.data.sources.image_endings import image_endings
from featcache.errors import DataError
from featcache.places import FilePlace, ImagePlace, NoContentError, NoPlace, file_stamp

TRIED = 200  # names, to see how the table names files
NOT_THERE = "the table names it, and there is no such file"
NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}  # a cell may hold any text
SERVED = "/data/local-files/?d="  # Label Studio's, before a path below its root

# How a table may name files; the first by which any of them is there is taken.
SPELLINGS: dict[str, Callable[[str], str]] = {
    "last part": lambda name: PurePosixPath(name).name,
    "last part, without its ending": lambda name: PurePosixPath(name).stem,
    "last part, as uploaded to Label Studio": lambda name: PurePosixPath(name).name.partition("-")[2],
}


@dataclass(frozen=True, slots=True)
class ListedFile(FilePlace):
    """A file that a table names, which need not be there."""

    def stamp(self) -> tuple[int, int]:
        """Of the file; raises NoContentError where there is none."""
        try:
            return file_stamp(self.path)
        except ValueError:  # a NUL
            raise NoContentError(NOT_THERE) from None
        except OSError as error:
            raise (NoContentError(NOT_THERE) if error.errno in NO_FILE else error) from None


@dataclass(frozen=True)
class ListedFiles:
    """The files below `root` as a table names them."""

    root: Path
    index: dict[str, list[str]] | None  # by how they are spelt; None where names are paths
    spell: Callable[[str], str] = str
    said: str = ""

    @classmethod
    def of(cls, names: Sequence[str], root: Path, table: Path) -> ListedFiles:
        """How `names`, some of the table's, name files; raises DataError where none of them is there."""
        tried = [plain_spelling(name, root) for name in names[:: max(1, len(names) // TRIED)]]
        if any(os.path.lexists(root / name) for name in tried):
            return cls(root, None)
        below = [
            name for name, _ in DiskFolder(root, root).walk() if PurePosixPath(name).suffix.lower() in image_endings()
        ]
        for how, spell in SPELLINGS.items():
            index: dict[str, list[str]] = {}
            for name in below:
                key = PurePosixPath(name).stem if "ending" in how else PurePosixPath(name).name
                index.setdefault(key, []).append(name)
            wanted = _whole if "ending" in how else spell
            if any(wanted(name) in index for name in tried):
                return cls(root, index, wanted, f"files of {table.name} are looked for below {root} by their {how}")
        raise DataError(
            f"data.path: {table}: none of its files is there, such as {names[0]!r}. Expected paths below {root}, or "
            "files there of such names: say in data.root which folder they are below."
        )

    def find(self, listed: str) -> tuple[str, ImagePlace]:
        """Name and place of the file that a table names; raises DataError where several are called so."""
        plain = plain_spelling(listed, self.root)
        if self.index is None:
            return self._name(plain), ListedFile(plain if plain.startswith("/") else self._base + plain)
        found = self.index.get(self.spell(plain), [])
        if len(found) > 1:
            raise DataError(
                f"data.path: its table names {listed!r}, and several files below {self.root} are called so: {found[0]} "
                f"and {found[1]}. Expected paths below that folder; or set data.root to the folder that is meant."
            )
        if not found:
            return printable(plain), NoPlace(f"{self.root}\0{plain}", NOT_THERE)
        return found[0], ListedFile(self._base + found[0])

    @cached_property
    def _base(self) -> str:
        return f"{self.root}/"

    def _name(self, plain: str) -> str:
        if plain.startswith("/"):
            plain = plain.removeprefix(self._base).lstrip("/")
        return plain if plain.isascii() else printable(plain)


def plain_spelling(listed: str, root: Path) -> str:
    """A path as tables have it, with "/" between its parts and without what goes before it.

    A backslash parts folders too (Windows writes `data/train\\cat\\1.png`), unless a file below `root` is called so.
    """
    if listed.startswith("file://"):
        listed = listed[7:]
    if SERVED in listed:
        listed = listed.partition(SERVED)[2]
    if "\\" in listed and not os.path.lexists(root / listed):
        listed = listed.replace("\\", "/")
    if "//" in listed or "./" in listed:
        listed = PurePosixPath(listed).as_posix()  # "." and doubled slashes say nothing; ".." stays
    return listed


def _whole(name: str) -> str:
    """The last part of a name, of which an image's ending is taken off."""
    last = PurePosixPath(name)
    return last.stem if last.suffix.lower() in image_endings() else last.name
