"""A gzip file read at any place of what it holds, without unpacking it: points to begin from are kept in memory.

Source: zlib's examples/zran.c (M. Adler), which keeps the state of the inflater every so many bytes.
"""

from __future__ import annotations

import io
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.data.pillow_files import MAX_BYTES
from featcache.places import NoContentError, file_stamp

WINDOW = zlib.MAX_WBITS | 16  # a gzip header before the deflated bytes
CHUNK = 1 << 14  # bytes, compressed, inflated at a time
SPACING = 1 << 20  # bytes, inflated, between two points at first
MOST_POINTS = 1024  # of about 50 KB each: when there are more, every other one is dropped
MOST_OPEN = 8  # files whose points are kept


@dataclass(frozen=True)
class _Point:
    """Where inflating can begin again."""

    out: int  # bytes inflated before
    read: int  # bytes read before, of the file
    inflater: Any
    left: bytes  # read and not inflated yet


class GzipStream(io.RawIOBase):
    """The inflated bytes of the gzip file `path`, to be read and sought in by one thread."""

    def __init__(self, path: str, points: list[_Point] | None = None) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115
        self.points = points if points is not None else [_Point(0, 0, zlib.decompressobj(WINDOW), b"")]
        self._spacing = SPACING
        self._complete = points is not None  # no more of them are made
        self._begin(self.points[0])

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Inflated bytes before the next one."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an inflated byte, from the nearest point before it."""
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of a gzip file is not known before it is read")
        nearest = max((p for p in self.points if p.out <= offset), key=lambda p: p.out)
        if offset < self._at or nearest.out > self._at:
            self._begin(nearest)
        while self._at < offset and self._read_some(offset - self._at):
            pass
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many inflated bytes, fewer at the end; raises OSError where the file is broken or `size` is too large."""
        if not 0 <= size <= MAX_BYTES:
            raise NoContentError(f"{size} bytes at once are more than {MAX_BYTES}")
        parts, left = [], size
        while left:
            part = self._read_some(left)
            if not part:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _begin(self, point: _Point) -> None:
        self._file.seek(point.read)
        self._read, self._at = point.read, point.out
        self._inflater, self._left = point.inflater.copy(), point.left

    def _read_some(self, most: int) -> bytes:
        """At least one inflated byte, or none at the end."""
        try:
            while True:
                if not self._left:
                    self._left = self._more()
                if self._inflater.eof:
                    self._left = self._left.lstrip(b"\0") or self._more()
                    if not self._left:
                        return b""
                    self._inflater = zlib.decompressobj(WINDOW)  # several gzip files in one
                data = self._left
                part: bytes = self._inflater.decompress(data, min(most, SPACING))
                self._left = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
                self._at += len(part)
                if part:
                    self._keep_point()
                    return part
                if not data and not self._inflater.eof:
                    raise OSError("its end is missing")
        except zlib.error as error:
            raise OSError(f"broken: {error}") from None

    def _more(self) -> bytes:
        data = self._file.read(CHUNK)
        self._read += len(data)
        return data

    def _keep_point(self) -> None:
        if self._complete or self._inflater.eof or self._at - self.points[-1].out < self._spacing:
            return
        self.points.append(_Point(self._at, self._read, self._inflater.copy(), self._left))
        if len(self.points) > MOST_POINTS:
            del self.points[1::2]
            self._spacing *= 2


_known: OrderedDict[tuple[str, tuple[int, int]], list[_Point]] = OrderedDict()
_lock = threading.Lock()


def remember_points(path: str, stream: GzipStream) -> None:
    """Have `read_at` begin at the points of a stream that went through the whole of `path`."""
    with _lock:
        _known[path, file_stamp(path)] = stream.points
        while len(_known) > MOST_OPEN:
            _known.popitem(last=False)


def read_at(path: str, offset: int, size: int) -> bytes:
    """So many inflated bytes of the gzip file `path` from `offset` on; from many threads. Raises OSError."""
    key = path, file_stamp(path)
    with _lock:
        points = _known.get(key)
    if points is None:
        with GzipStream(path) as through:
            while through.read(SPACING):
                pass
        remember_points(path, through)
        points = through.points
    with GzipStream(path, points) as stream:
        stream.seek(offset)
        return stream.read(size)
