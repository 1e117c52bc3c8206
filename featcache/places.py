"""Where an image's bytes are, and the one way to read them: a file here, what else sources find beside them."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MAX_READ = 1 << 31  # bytes of one file: twice the most that an image may have; a file of the kernel's has no end
CHUNK = 1 << 18  # bytes that are hashed at once


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
        """By path: files of one folder mostly lie near each other."""
        return self.path, 0

    def stamp(self) -> tuple[int, int]:
        """Of the file."""
        return file_stamp(self.path)

    def read(self) -> bytes:
        """The whole file; raises NoContentError where it is no plain file."""
        file_stamp(self.path)
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
    """Size (bytes) and time of modification (ns) of a file; raises OSError, NoContentError where it is a folder, a pipe
    or a device, which need not end."""
    found = os.stat(path)  # noqa: PTH116  (a Path for each of a million calls is most of their time)
    if not stat.S_ISREG(found.st_mode):
        raise NoContentError("a folder, and no file" if stat.S_ISDIR(found.st_mode) else "a pipe or a device, no file")
    return found.st_size, found.st_mtime_ns


def head_and_sha256(place: ImagePlace, head_bytes: int) -> tuple[bytes, str]:
    """The first bytes of what is at `place`, and the sha256 (hex) of all of it; a file is never whole in memory."""
    if isinstance(place, FilePlace):
        file_stamp(place.path)  # to open a pipe is to wait for its writer
        try:
            return _hashed(place.path, head_bytes)
        except OSError as error:
            if error.errno is not None and error.filename is None:  # of a read, and not of the opening
                error.filename = place.path
            raise
    data = place.read()
    return data[:head_bytes], hashlib.sha256(data).hexdigest()


def _hashed(path: str, head_bytes: int) -> tuple[bytes, str]:
    digest, size = hashlib.sha256(), 0
    with Path(path).open("rb") as file:
        head = file.read(head_bytes)
        file.seek(0)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > MAX_READ:
                raise NoContentError(f"more than {MAX_READ} bytes, which no image has")
    return head, digest.hexdigest()


def said(place: ImagePlace) -> str:
    """The place in words, for messages."""
    return place.key.replace("\0", ": ")
