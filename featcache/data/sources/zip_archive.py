"""A zip becomes rows, its members read in place: each by itself, from many threads.

Source: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7 (local header) and 4.4.5 (methods).
"""

from __future__ import annotations

import bz2
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from featcache.data.sources.archive_members import ArchiveMember, archive_images, list_archive, why_refused
from featcache.data.sources.file_contents import require_contents
from featcache.data.sources.rows import Listing
from featcache.data.sources.source_images import SourceImages
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import ImagePlace, NoContentError, NoPlace

LOCAL_HEADER = 30  # bytes, before the member's name
ENCRYPTED = 1  # the flag


@dataclass(frozen=True, slots=True)
class ZipMember(ArchiveMember):
    """A member of a zip: where it begins, how many bytes it has there and inflated, and what they sum up to."""

    stored: int
    size: int
    method: int
    crc: int

    def read(self) -> bytes:
        """The member, inflated to the size that the archive states and no further."""
        with Path(self.archive).open("rb") as file:
            file.seek(max(0, self.offset))  # a broken directory may say less
            header = file.read(LOCAL_HEADER)
            if not header.startswith(b"PK\3\4") or len(header) < LOCAL_HEADER:
                raise NoContentError("the archive is broken where this member should begin")
            name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
            file.seek(name + extra, 1)
            stored = file.read(self.stored)
        try:
            data = self._inflated(stored)
        except NoContentError:  # says all there is to say
            raise
        except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise NoContentError(f"broken in the archive ({error})") from None
        if len(data) != self.size:
            raise NoContentError(f"broken in the archive: not the {self.size} bytes that it states")
        if zlib.crc32(data) != self.crc:
            raise NoContentError("broken in the archive: its checksum is wrong")
        return data

    def _inflated(self, stored: bytes) -> bytes:
        limit = self.size + 1
        if self.method == zipfile.ZIP_STORED:
            return stored
        if self.method == zipfile.ZIP_DEFLATED:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, limit)
        if self.method == zipfile.ZIP_BZIP2:
            return bz2.BZ2Decompressor().decompress(stored, limit)
        raise NoContentError(f"compressed by method {self.method}, which is not read: stored, deflate and bzip2 are")


def list_zip(path: str, options: DataOptions) -> Listing:  # noqa: ARG001
    """The images of a zip that is laid out inside as an image folder is."""
    return list_archive(Path(path), zip_members(Path(path)))


def zip_images(path: str) -> SourceImages:
    """The members of a zip, for a table that names them."""
    return archive_images(Path(path), zip_members(Path(path)))


def zip_members(archive: Path) -> Iterator[tuple[str, ImagePlace]]:
    """Name and place of each file in a zip; raises DataError where it cannot be read."""
    require_contents(archive, "zip")
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise DataError(
            f"data.path: {archive} cannot be read as a zip ({error}). Expected a whole one: fetch or make it anew."
        ) from None
    for info in infos:
        if not info.is_dir():
            yield info.filename, _place(str(archive), info)


def _place(archive: str, info: zipfile.ZipInfo) -> ImagePlace:
    key = f"{archive}\0{info.filename}"
    if info.flag_bits & ENCRYPTED:
        return NoPlace(key, "encrypted in the archive")
    if info.external_attr >> 28 == 0o12:  # a mode of Unix: S_IFLNK
        return NoPlace(key, "a link in the archive, which is not followed")
    refused = why_refused(info.file_size)
    if refused is not None:
        return NoPlace(key, refused)
    return ZipMember(
        archive, info.filename, info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC
    )
