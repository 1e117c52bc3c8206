"""Files as tables name them become files that are there: below the table's folder, by path or by last part."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Literal
from unicodedata import normalize
from urllib.parse import unquote

from featcache.data.sources.folder_tree import DiskFolder, composed, printable
from featcache.data.sources.image_endings import image_endings
from featcache.errors import DataError
from featcache.places import FilePlace, ImagePlace, NoContentError, NoPlace, file_stamp

TRIED = 200  # names, to see how the table names files
NOT_THERE = "the table names it, and there is no such file"
NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}  # a cell may hold any text
FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")  # of letters with accents, as systems differ in them
SERVED = "/data/local-files/?d="  # Label Studio's, before a path below its root


def _whole(name: str) -> str:
    """The last part of a name, of which an image's ending is taken off."""
    last = PurePosixPath(name)
    return last.stem if last.suffix.lower() in image_endings() else last.name


def _uploaded(name: str) -> str:
    """The last part of a name as Label Studio's uploads are called.

    Source: Django, `get_valid_filename`.
    """
    return re.sub(r"[^-\w.]", "", PurePosixPath(composed(name)).name.strip().replace(" ", "_"))


# How a table may name files, and what is the same of an image that is there and of its name in the table; the first by
# which any of them is there is taken.
SPELLINGS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "last part": (lambda name: PurePosixPath(name).name, lambda name: PurePosixPath(name).name),
    "last part, without its ending": (lambda name: PurePosixPath(name).stem, _whole),
    "last part, as uploaded to Label Studio": (_uploaded, lambda name: _uploaded(name).partition("-")[2]),
}


@dataclass(frozen=True, slots=True)
class ListedFile(FilePlace):
    """A file that a table names, which need not be there."""

    def stamp(self) -> tuple[int, int]:
        """Of the file; raises NoContentError where there is none."""
        with self._missing():
            return file_stamp(self.path)

    def read(self) -> bytes:
        """The whole file; raises NoContentError where there is none."""
        with self._missing():
            return FilePlace.read(self)

    @contextmanager
    def _missing(self) -> Iterator[None]:
        try:
            yield
        except NoContentError as error:
            raise NoContentError(f"the table names it, and it is {error}") from None
        except ValueError:  # a NUL
            raise NoContentError(NOT_THERE) from None
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            raise NoContentError(NOT_THERE + near_name(self.path)) from None


@dataclass(frozen=True)
class Spelling:
    """How a table spells the names of images that are there, where it does not have them whole."""

    how: str
    spell: Callable[[str], str]  # of a name in the table
    index: dict[str, list[str]]  # the images of each such spelling
    alike: dict[str, list[str]]  # the same by its composed form

    @classmethod
    def of(cls, tried: Sequence[str], there: Iterable[str]) -> Spelling | None:
        """The first by which any of the names that are `tried` is one `there`; None where there is none."""
        images = [name for name in there if PurePosixPath(name).suffix.lower() in image_endings()]
        for how, (key_of, spell) in SPELLINGS.items():
            spelling = cls(how, spell, {}, {})
            for name in images:
                spelling.index.setdefault(key_of(name), []).append(name)
            for key, named in spelling.index.items():
                spelling.alike.setdefault(composed(key), []).extend(named)
            if any(map(spelling._called, tried)):
                return spelling
        return None

    def _called(self, plain: str) -> list[str]:
        """The images that a table calls `plain`; as it is, else as a server's address, else by the letters' look."""
        for name in dict.fromkeys((plain, decoded(plain))):
            key = self.spell(name)
            found = self.index.get(key) or self.alike.get(composed(key))
            if found:
                return found
        return []

    def find(self, plain: str, root: str) -> str | None:
        """The image that a table calls `plain`, of several the one in folders of the same names (`C:/x/train/cat/1.png`
        is `train/cat/1.png`); raises DataError where that leaves several below `root`."""
        found = self._called(plain)
        if len(found) > 1:
            alike = [_folders_alike(plain, name) for name in found]
            found = [name for name, count in zip(found, alike, strict=True) if count == max(alike)]
        if len(found) > 1:
            raise DataError(
                f"data.path: its table names {plain!r}, and several files below {root} are called so: {found[0]} and "
                f"{found[1]}. Expected paths below it; or set data.root to the folder that is meant."
            )
        return found[0] if found else None


def _folders_alike(one: str, other: str) -> int:
    """How many folders before the last part have the same names, from the last on."""
    pairs = zip(PurePosixPath(one).parts[-2::-1], PurePosixPath(other).parts[-2::-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: composed(pair[0]) == composed(pair[1]), pairs))


@dataclass(frozen=True)
class ListedFiles:
    """The files below `root` as a table names them."""

    root: Path
    spelling: Spelling | None = None  # None where names are paths
    said: str = ""

    @classmethod
    def of(cls, names: Sequence[str], given: Path | None, table: Path) -> ListedFiles:
        """How `names`, some of the table's, name files below the folder that is `given`, else below the table's own, or
        one of those above it that has all of them; raises DataError where none of them is there."""
        root = given if given is not None else table.parent
        tried = [plain_spelling(name, cls(root).has) for name in names[:: max(1, len(names) // TRIED)]]
        if any(os.path.lexists(root / name) for name in tried):
            return cls(root)
        above = () if given is not None else root.parents
        for folder in above:
            if all(os.path.lexists(folder / name) for name in tried):
                return cls(folder, said=f"paths of {table.name} are below {folder}, a folder above it")
        spelling = Spelling.of(tried, (name for name, _ in DiskFolder(root, root).walk()))
        if spelling is None:
            raise DataError(
                f"data.path: {table}: none of its files is there, such as {names[0]!r}"
                f"{near_name(str(root / tried[0]))}. Expected paths below {root}, "
                "or files there of such names: say in data.root which folder, archive or other source they are in."
            )
        return cls(root, spelling, f"files of {table.name} are looked for below {root} by their {spelling.how}")

    def find(self, listed: str) -> tuple[str, ImagePlace]:
        """Name and place of the file that a table names; raises DataError where several are called so."""
        plain = plain_spelling(listed, self.has)
        if self.spelling is None:
            return self._name(plain), ListedFile(plain if plain.startswith("/") else self._base + plain)
        found = self.spelling.find(plain, str(self.root))
        if found is None:
            return printable(plain), NoPlace(f"{self.root}\0{plain}", NOT_THERE)
        return found, ListedFile(self._base + found)

    def has(self, name: str) -> bool:
        """Whether a file is called so."""
        return os.path.lexists(self.root / name)

    @cached_property
    def _base(self) -> str:
        return f"{self.root}/"

    def _name(self, plain: str) -> str:
        if plain.startswith("/"):
            plain = plain.removeprefix(self._base).lstrip("/")
        if ".." in plain:  # so that a file has one name, whichever way leads to it
            plain = posixpath.normpath(plain)
        return (plain or "/") if plain.isascii() else printable(plain)


def plain_spelling(listed: str, has: Callable[[str], bool]) -> str:
    """A path as tables have it, with "/" between its parts and without what goes before it.

    A backslash parts folders too (`train\\cat\\1.png`, of Windows), and `%20` is a blank, unless something is called
    so: `has` knows.
    """
    address = "://" in listed
    if address and listed.startswith("file://"):
        listed = listed[7:].removeprefix("localhost")
    if SERVED in listed:
        address, listed = True, listed.partition(SERVED)[2]
    if "\\" in listed and not has(listed):
        listed = listed.replace("\\", "/")
    if ("%" in listed or "?" in listed or "#" in listed) and not has(listed):
        meant = decoded(listed)
        listed = meant if address or has(meant) else listed
    if "//" in listed or "./" in listed:
        listed = PurePosixPath(listed).as_posix()  # "." and doubled slashes say nothing; ".." stays
    if not listed.isascii() and not has(listed):
        listed = next((form for form in map(normalize, FORMS, [listed] * len(FORMS)) if has(form)), listed)
    return listed


def decoded(address: str) -> str:
    """The path that a server's address says: without its query, and bytes instead of `%20`."""
    return unquote(re.split(r"[?#]", address, maxsplit=1)[0])


@lru_cache(maxsize=64)
def _looks(folder: str, _changed: int) -> dict[str, str]:
    """The names in a folder by how they look, of either case."""
    return {composed(name).casefold(): name for name in os.listdir(folder)}  # noqa: PTH208  (names alone, of many)


def near_name(path: str) -> str:
    """What is there beside `path` under nearly its name, in words; "" where nothing is."""
    folder, _, name = path.rpartition("/")
    try:
        near = _looks(folder or "/", os.stat(folder or "/").st_mtime_ns).get(composed(name).casefold())  # noqa: PTH116
    except (OSError, ValueError):
        return ""
    return f": {printable(near)!r} is there" if near is not None and near != name else ""
