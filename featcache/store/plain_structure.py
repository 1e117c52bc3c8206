"""Whether an HDF5 file holds nothing but what a store does, found out before any value of it is read.

HDF5 can name other files (external and soft links, virtual data sets, external storage), load code for filters, and
say that a file of 1 KB holds a terabyte. A store has none of that: what has is refused, whoever made it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from featcache.errors import ForeignStoreError

DEPTH = 3  # groups within groups: datasets/<name>/<split>
FLETCHER32 = 3  # HDF5's number of the one filter that a store has
MAX_CHUNK = 64 << 20  # bytes; a store's are about 1 MB, or one image's views
KINDS = "iuf"  # integers and floating point; text beside them
RANKS = {"sha256": 2, "features": 2, "crc32": 1, "row": 1, "label": 1, "path": 1}
PLAIN_ATTRIBUTES = (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT)

_plain: set[tuple[int, ...]] = set()  # stamps of files that were looked through by this process


@contextmanager
def reading(path: Path) -> Iterator[h5py.File]:
    """The HDF5 file at `path`, open for reading; raises ForeignStoreError, and what h5py does."""
    with h5py.File(path, "r") as file:
        found = os.stat(path)  # noqa: PTH116
        stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if stamp not in _plain:
            require_plain(file, path)
            _plain.add(stamp)
        yield file


def require_plain(file: h5py.File, path: Path) -> None:
    """Raise ForeignStoreError where `file` (at `path`) is not plain."""
    fault = next(_faults(file, "", {_address(file)}, 0), None)
    if fault is not None:
        raise ForeignStoreError(
            f"{path}: {fault}. Expected what featcache writes: plain arrays in the file itself. Nothing of it was "
            "read. Remove it, and ask where it comes from; its rows are extracted again."
        )


def _faults(group: h5py.Group, place: str, seen: set[int], depth: int) -> Iterator[str]:
    yield from _odd_attributes(group, place)
    for name in group:
        here = f"{place}/{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "an external" if isinstance(link, h5py.ExternalLink) else "a soft"
            yield f"{here} is {kind} link, to {getattr(link, 'filename', '')} {getattr(link, 'path', '')}"
            continue
        one = group[name]
        if not isinstance(one, h5py.Group | h5py.Dataset):
            yield f"{here} is a named type"
            continue
        address = _address(one)
        if address in seen:
            yield f"{here} is another name of what is in the file already"
            continue
        seen.add(address)
        if isinstance(one, h5py.Dataset):
            yield from _odd_attributes(one, here)
            yield from _odd_dataset(one, here, depth)
        elif depth >= DEPTH:
            yield f"{here} is a group {depth + 1} groups deep"
        else:
            yield from _faults(one, here, seen, depth + 1)


def _odd_dataset(data: h5py.Dataset, here: str, depth: int) -> Iterator[str]:
    settings = data.id.get_create_plist()
    stored = data.id.get_storage_size()
    if data.is_virtual:
        yield f"{here} is a virtual data set, made of others"
    elif settings.get_external_count():
        yield f"{here} has its values in another file"
    elif any(settings.get_filter(n)[0] != FLETCHER32 for n in range(settings.get_nfilters())):
        yield f"{here} has the filter {settings.get_filter(0)[3]!r}"
    elif data.dtype.kind not in KINDS and not _is_text(data):
        yield f"{here} holds values of the type {data.dtype}"
    elif not _has_its_shape(data, depth):
        yield f"{here} has the shape {list(data.shape)}"
    elif math.prod(data.shape) * data.dtype.itemsize > stored:
        yield f"{here} has the shape {list(data.shape)}, of which {stored} bytes are there"
    elif data.chunks is not None and math.prod(data.chunks) * data.dtype.itemsize > MAX_CHUNK:
        yield f"{here} is stored in pieces of the shape {list(data.chunks)}"


def _has_its_shape(data: h5py.Dataset, depth: int) -> bool:
    name = data.name.rpartition("/")[2]
    views = name == "features" and depth > 0
    rank = RANKS.get(name, data.ndim) + views
    return bool(data.ndim == rank and (name != "sha256" or data.shape[1] == 32))


def _is_text(data: h5py.Dataset) -> bool:
    return data.name.endswith("/path") and h5py.check_string_dtype(data.dtype) is not None


def _odd_attributes(one: h5py.Group | h5py.Dataset, here: str) -> Iterator[str]:
    for name in one.attrs:
        kind = one.attrs.get_id(name).get_type().get_class()
        if kind not in PLAIN_ATTRIBUTES:
            yield f"{here or '/'} has an attribute {name!r} of an odd type"


def _address(one: h5py.Group | h5py.Dataset) -> int:
    found: int = h5py.h5o.get_info(one.id).addr
    return found
