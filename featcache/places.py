"""Where an image's bytes are, and the one way to read them: a file here, what else sources find beside them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class NoContentError(OSError):
    """No image's bytes can be had from this place, however often it is tried; the message is the reason."""


class ImagePlace(Protocol):
    """A value that says where the bytes of one image are: hashable, cheap to keep by the million, safe to read from
    many threads.

    A source of images may bring places of its own: a member of an archive, a cell of a table, a row of an array.
    """

    @property
    def key(self) -> str:
        """What no other place is called: the file's path, and after a NUL byte what the image is inside of it."""

    @property
    def position(self) -> tuple[str, int]:
        """The container and the place in it: images are read fastest in this order."""

    def stamp(self) -> tuple[int, int] | None:
        """Size (bytes) and time of modification (ns) of the file that the bytes are in, by which a change of them is
        noticed; None where that cannot be noticed, so that they are hashed each time. Raises OSError."""

    def read(self) -> bytes:
        """All of the image's bytes; raises NoContentError, or OSError as `open` does."""


@dataclass(frozen=True, slots=True)
class FilePlace:
    """A file of its own."""

    path: str

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> FilePlace:
        """The place of the file `path`."""
        return cls(os.fspath(path))

    @property
    def key(self) -> str:
        """The path."""
        return os.fsencode(self.path).decode("utf-8", "surrogateescape")

    @property
    def position(self) -> tuple[str, int]:
        """The same for all files: any order is as good."""
        return "", 0

    def stamp(self) -> tuple[int, int]:
        """Of the file."""
        return file_stamp(self.path)

    def read(self) -> bytes:
        """The whole file."""
        return Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class BytesPlace:
    """An image whose bytes are in memory already, as a request brings them; `name` is for messages."""

    name: str
    data: bytes

    @property
    def key(self) -> str:
        """The name, which others may have too."""
        return f"\0{self.name}"

    @property
    def position(self) -> tuple[str, int]:
        """Nowhere: any order is as good."""
        return "", 0

    def stamp(self) -> None:
        """Nothing: no file is behind it."""

    def read(self) -> bytes:
        """The bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class NoPlace:
    """An image that is named and cannot be had, and why: it goes to the quarantine list."""

    key: str
    reason: str

    @property
    def position(self) -> tuple[str, int]:
        """Nowhere."""
        return "", 0

    def stamp(self) -> None:
        """Nothing is known of it."""

    def read(self) -> bytes:
        """Raises NoContentError."""
        raise NoContentError(self.reason)


def file_stamp(path: str) -> tuple[int, int]:
    """Size (bytes) and time of modification (ns) of a file; raises OSError."""
    stat = os.stat(path)  # noqa: PTH116  (a Path for each of a million calls is most of their time)
    return stat.st_size, stat.st_mtime_ns


def head_and_sha256(place: ImagePlace, head_bytes: int) -> tuple[bytes, str]:
    """The first bytes of what is at `place`, and the sha256 (hex) of all of it; a file is never whole in memory."""
    if isinstance(place, FilePlace):
        with Path(place.path).open("rb") as file:
            head = file.read(head_bytes)
            file.seek(0)
            return head, hashlib.file_digest(file, "sha256").hexdigest()
    data = place.read()
    return data[:head_bytes], hashlib.sha256(data).hexdigest()


def said(place: ImagePlace) -> str:
    """The place in words, for messages."""
    return place.key.replace("\0", ": ")
