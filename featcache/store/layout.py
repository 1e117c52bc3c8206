"""What lies where in a store's HDF5 file, and how it is read and added to.

Every row carries a CRC-32 of its content hash and its bytes, so that a damaged row can be named; every chunk carries
HDF5's own Fletcher-32.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.records import (
    FORMAT_VERSION,
    BackboneInfo,
    Identity,
    WeightsOrigin,
)
from featcache.store.part_files import Features, Part, hash_bytes
from featcache.store.versions import provenance

CHUNK_BYTES = 1 << 20
HASH_CHUNK = 4096  # rows; for the small columns beside the features
CHECKSUMS = "attributes_crc32"


def group_name(spec: str) -> str:
    """The group that holds the views of an augmentation spec; "" is the plain one, at the root."""
    return f"augmented/{spec}" if spec else "/"


def start_file(file: h5py.File, info: BackboneInfo) -> None:
    """Everything that a file holds beside its rows, as far as it is not there: repair drops what was damaged."""
    attributes: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "identity": json.dumps(info.identity.as_dict(), sort_keys=True),
        "origin": json.dumps(asdict(info.origin), sort_keys=True),
        "params": info.params,
    }
    for name, value in attributes.items():
        if name not in file.attrs:
            file.attrs[name] = value
    if "provenance" not in file.attrs:  # not above: it looks up versions
        set_json(file, "provenance", provenance())
    if "sha256" not in file:
        create_hashes(file)


def read_info(file: h5py.File) -> BackboneInfo:
    """What `start_file` was told of the backbone."""
    features = int(file["features"].shape[1]) if "features" in file else 0
    origin = WeightsOrigin.from_dict(json.loads(file.attrs["origin"]))
    return BackboneInfo(
        Identity.from_dict(json.loads(file.attrs["identity"])), features, int(file.attrs["params"]), origin
    )


def create_hashes(file: h5py.File) -> None:
    """The column that every file has, even without rows."""
    _create(file, "sha256", (32,), np.dtype("u1"), HASH_CHUNK)


def finish_file(file: h5py.File) -> None:
    """Checksums of the attributes, which HDF5 keeps without any."""
    sums = {name: _attribute_crc(file, name) for name in file.attrs if name != CHECKSUMS}
    file.attrs[CHECKSUMS] = json.dumps(sums, sort_keys=True)


def sound_attributes(file: h5py.File) -> list[str]:
    """The attributes that match their checksum."""
    try:
        sums = json.loads(file.attrs[CHECKSUMS])
    except (OSError, RuntimeError, KeyError, ValueError):
        return []
    if not isinstance(sums, dict):
        return []
    return [name for name, crc in sums.items() if _attribute_crc(file, name) == crc]


def _attribute_crc(file: h5py.File, name: str) -> int | None:
    try:
        return zlib.crc32(str(file.attrs[name]).encode())
    except (OSError, RuntimeError, KeyError, ValueError):  # gone, or no text any more
        return None


class Appender:
    """Adds rows to an open file; knows which are there, so that each part costs its own rows only."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._rows = {"": base_rows(file)}

    def part(self, part: Part) -> None:
        """Add the rows of `part` that the file lacks."""
        fresh: dict[str, Features] = {}
        for name, row in zip(part.sha256, part.features, strict=True):
            fresh.setdefault(name, row)
        self.rows(part.spec, list(fresh), list(fresh.values()))

    def names(self, hashes: Sequence[str]) -> None:
        """Add content hashes that views or tables of this file point at, where plain rows lie in another."""
        base = self._rows[""]
        new = [h for h in dict.fromkeys(hashes) if h not in base]
        if new:
            _grow(self._file, "sha256", hash_bytes(new))
            base |= {h: len(base) + i for i, h in enumerate(new)}

    def rows(self, spec: str, hashes: Sequence[str], features: Sequence[Features] | Features) -> None:
        """Add rows, but for those that are there. Base rows come first: augmented ones point at them."""
        base = self._rows[""]
        known = self._rows.setdefault(spec, spec_rows(self._file, spec))
        # An augmented row whose base row was in a part that was lost has nothing to point at: it is extracted again.
        new = [i for i, h in enumerate(hashes) if h not in known and (not spec or h in base)]
        if not new:
            return
        names = hash_bytes([hashes[i] for i in new])
        group = self._file.require_group(group_name(spec))
        kept = _grow(group, "features", np.stack([features[i] for i in new]))
        if spec:
            _grow(group, "row", np.array([base[hashes[i]] for i in new], dtype=np.int64))
        else:
            _grow(group, "sha256", names)
        _grow(group, "crc32", row_crcs(names, kept))
        for i in new:
            known[hashes[i]] = len(known)


def base_rows(file: h5py.File) -> dict[str, int]:
    """Content hash -> row."""
    return {h.tobytes().hex(): i for i, h in enumerate(file["sha256"][:])}


def spec_rows(file: h5py.File, spec: str) -> dict[str, int]:
    """Content hash -> row among the views of `spec`."""
    name = group_name(spec)
    if name not in file or not spec:
        return {}
    hashes = file["sha256"][:]
    return {hashes[r].tobytes().hex(): i for i, r in enumerate(file[f"{name}/row"][:])}


def row_crcs(hashes: NDArray[np.uint8], features: NDArray[Any]) -> NDArray[np.uint32]:
    """CRC-32 of each row: its content hash's 32 bytes, then its values as stored."""
    flat = np.ascontiguousarray(features).reshape(len(features), -1)
    pairs = zip(hashes, flat, strict=True)
    return np.fromiter(
        (zlib.crc32(row.data, zlib.crc32(name.data)) for name, row in pairs), dtype=np.uint32, count=len(flat)
    )


def read_rows(data: h5py.Dataset, order: NDArray[np.int64]) -> NDArray[Any]:
    """Rows `order` (ascending): whole blocks at a time, since picking single rows through HDF5 is very slow."""
    pieces = []
    for start, stop in blocks(data):
        inside = order[np.searchsorted(order, start) : np.searchsorted(order, stop)] - start
        if len(inside):
            pieces.append(data[start:stop][inside])
    return np.concatenate(pieces) if pieces else np.empty((0, *data.shape[1:]), data.dtype)


def blocks(data: h5py.Dataset) -> Iterable[tuple[int, int]]:
    """Ranges of rows that cover `data`, each some whole chunks of about 64 MB together."""
    row_bytes = max(1, int(np.prod(data.shape[1:])) * data.dtype.itemsize)
    rows = data.chunks[0] * max(1, (64 << 20) // (data.chunks[0] * row_bytes))
    return ((start, min(start + rows, len(data))) for start in range(0, len(data), rows))


def set_json(file: h5py.File, name: str, value: Any) -> None:
    """An attribute of the file as JSON text."""
    file.attrs[name] = json.dumps(value, sort_keys=True)


def get_json(file: h5py.File, name: str, default: Any) -> Any:
    """What `set_json` wrote."""
    return json.loads(file.attrs[name]) if name in file.attrs else default


def _grow(group: h5py.Group, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Append `values` to a dataset, made on first use; returns them in the type they are stored in."""
    if name not in group:
        row_bytes = max(1, values[0].nbytes)
        rows = HASH_CHUNK if values.ndim == 1 else max(1, min(HASH_CHUNK, CHUNK_BYTES // row_bytes))
        _create(group, name, values.shape[1:], values.dtype, rows)
    elif np.result_type(group[name].dtype, values.dtype) != group[name].dtype:
        _widen(group, name, values.dtype)
    data = group[name]
    start = len(data)
    data.resize(start + len(values), axis=0)
    data[start:] = values
    return values.astype(data.dtype)


def _create(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunk_rows: int) -> None:
    group.create_dataset(
        name,
        shape=(0, *shape),
        maxshape=(None, *shape),
        chunks=(chunk_rows, *shape),
        dtype=dtype,
        fletcher32=True,
    )


def _widen(group: h5py.Group, name: str, dtype: np.dtype[Any]) -> None:
    """Features seen later need a wider type: the rows stored before are exact in it; their checksums are new."""
    old = group[name]
    _create(group, "wider", old.shape[1:], dtype, max(1, old.chunks[0] * old.dtype.itemsize // dtype.itemsize))
    wider = group["wider"]
    wider.resize(len(old), axis=0)
    hashes = group.file["sha256"][:]
    if "row" in group:
        hashes = hashes[group["row"][:]]
    for start, stop in blocks(old):
        values = old[start:stop].astype(dtype)
        wider[start:stop] = values
        group["crc32"][start:stop] = row_crcs(hashes[start:stop], values)
    del group[name]
    group.move("wider", name)
