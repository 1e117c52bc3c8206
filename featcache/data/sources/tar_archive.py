"""A tar, gzipped or not, becomes its files, read in place: each by itself, from many threads."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.data.sources.archive_members import ArchiveMember, why_refused
from featcache.data.sources.file_contents import require_contents
from featcache.data.sources.gzip_stream import GzipStream, read_at, remember_points
from featcache.errors import DataError
from featcache.places import ImagePlace, NoContentError, NoPlace

GZIP = b"\x1f\x8b"
MOST_TEXT = 1 << 20  # bytes of a label's file
MOST_HEADER = 1 << 24  # bytes of a member's own header: names are long, and not that long


@dataclass(frozen=True, slots=True)
class TarMember(ArchiveMember):
    """A member of a tar: where its bytes begin, and how many there are."""

    size: int
    gzipped: bool = False

    def read(self) -> bytes:
        """The member."""
        if self.gzipped:
            data = read_at(self.archive, self.offset, self.size)
        else:
            with Path(self.archive).open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        if len(data) != self.size:
            raise NoContentError(f"the archive ends within this member, after {len(data)} of {self.size} bytes")
        return data


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tar; of small ones that were asked for, what is in them."""

    name: str
    place: ImagePlace
    text: bytes | None = None


def tar_entries(archive: Path, texts: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Each file in a tar, those whose names end in one of `texts` with what is in them; raises DataError where the tar
    cannot be read."""
    require_contents(archive, "tar", "tar.gz", "gzip")
    try:
        with archive.open("rb") as file:
            gzipped = file.read(2) == GZIP
        stream: Any = GzipStream(str(archive)) if gzipped else archive.open("rb")
        with stream:
            yield from _entries(str(archive), stream, gzipped, texts)
            if gzipped:
                while stream.read(1 << 20):  # to its end: it is known then to be whole
                    pass
                remember_points(str(archive), stream)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(
            f"data.path: {archive} cannot be read as a tar ({error}). Expected a whole one, plain or gzipped: fetch or "
            "make it anew."
        ) from None


def _entries(archive: str, stream: Any, gzipped: bool, texts: tuple[str, ...]) -> Iterator[Entry]:
    known: dict[str, ImagePlace] = {}  # what hard links may name
    with tarfile.open(fileobj=_Headers(stream), mode="r:") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # else every header is kept
            if member.isdir():
                continue
            place = _place(archive, member, gzipped, known)
            known[member.name] = place
            text = None
            if isinstance(place, TarMember) and place.size <= MOST_TEXT and member.name.endswith(texts or "\0"):
                stream.seek(place.offset)
                text = stream.read(place.size)
            yield Entry(member.name, place, text)
        stream.seek(tar.offset)
        if any(stream.read(tarfile.BLOCKSIZE)) or stream.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("its end is missing")


def _place(archive: str, member: tarfile.TarInfo, gzipped: bool, known: dict[str, ImagePlace]) -> ImagePlace:
    key = f"{archive}\0{member.name}"
    if member.islnk() and member.linkname in known:  # the same file twice: the second time as a link to the first
        return known[member.linkname]
    if member.issym() or member.islnk():
        return NoPlace(key, f"a link in the archive (to {member.linkname}), which is not followed")
    if not member.isreg() or member.issparse():
        return NoPlace(key, "no plain file in the archive")
    refused = why_refused(member.size)
    if refused is not None:
        return NoPlace(key, refused)
    return TarMember(archive, member.name, member.offset_data, member.size, gzipped)


class _Headers(io.RawIOBase):
    """What `tarfile` reads of a stream: headers, which are small; a large one is there to fill the memory."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """So many bytes."""
        if not 0 <= size <= MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes is no header")
        data: bytes = self._stream.read(size)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        place: int = self._stream.seek(offset, whence)
        return place

    def tell(self) -> int:
        """The next byte."""
        place: int = self._stream.tell()
        return place
