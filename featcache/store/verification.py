"""Is every byte of a store what was written; which rows are not; and how these are dropped (`cache verify`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.atomic import replacing
from featcache.counted_nouns import are, counted
from featcache.errors import ForeignStoreError
from featcache.records import FORMAT_VERSION, Identity
from featcache.store import layout
from featcache.store.file_seal import is_whole, seal
from featcache.store.hdf5_io import editing
from featcache.store.locks import StoreLocks
from featcache.store.part_files import Features, Parts, is_torn, read_part
from featcache.store.plain_structure import reading

SHOWN_ROWS = 20
FLETCHER_BYTES = 4  # HDF5 appends its checksum to each chunk
# What `h5py` raises where structures are broken.
BROKEN = (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError, AttributeError, UnicodeDecodeError)


@dataclass(frozen=True)
class DamagedRow:
    """A row whose checksum does not match."""

    spec: str  # "" for view 0
    row: int
    sha256: str  # as it stands in the file, which may be what is damaged
    names: tuple[str, ...]  # of the image files it belongs to, where a data set in the file says so


@dataclass(frozen=True)
class Verdict:
    """What the verification of one store found."""

    path: Path
    rows: int  # in the file, views counted apart
    damaged: tuple[DamagedRow, ...]
    whole: bool  # not one byte of the file differs
    unreadable: str  # why nothing can be read at all; "" where something can
    torn_parts: tuple[Path, ...]  # committed rows beside the file that a power cut tore
    folded: bool = True  # there is a file; otherwise `rows` are committed beside it
    foreign: bool = False  # nothing that repair may touch: another version's, renamed, or not readable by this user

    @property
    def ok(self) -> bool:
        """Nothing is wrong that repair could mend."""
        return self.foreign or (self.whole and not (self.damaged or self.unreadable or self.torn_parts))


@dataclass(frozen=True)
class _Rows:
    """Consecutive rows of one spec, read past HDF5's own checksums; `ok` says which match their CRC-32."""

    spec: str
    start: int
    hashes: NDArray[np.uint8]
    values: Features
    ok: NDArray[np.bool_]


def verify(path: Path) -> Verdict:
    """Read every byte of a store and every row's checksum; changes nothing."""
    torn = tuple(p for p in Parts(path.with_suffix(".parts")).files() if is_torn(p))
    if not path.exists():
        parts = (read_part(p) for p in Parts(path.with_suffix(".parts")).files() if p not in torn)
        return Verdict(path, sum(len(p.sha256) for p in parts if p is not None), (), True, "", torn, folded=False)
    try:
        whole = is_whole(path)
    except FileNotFoundError:  # pruned this moment
        return Verdict(path, 0, (), True, "", torn)
    except PermissionError as error:
        return Verdict(path, 0, (), False, str(error), torn, foreign=True)
    except OSError:  # a bad sector: the rows beside it may be read
        whole = False
    count, damaged = 0, []
    try:
        with reading(path) as file:
            if whole and (other := _belongs_elsewhere(file, path)):
                return Verdict(path, 0, (), whole, other, torn, foreign=True)
            names = {} if whole else _names(file)
            for rows in _every_row(file):
                count += len(rows.ok)
                for i in np.flatnonzero(~rows.ok):
                    sha256 = rows.hashes[i].tobytes().hex()
                    damaged.append(
                        DamagedRow(
                            rows.spec, rows.start + int(i), sha256, tuple(names.get(rows.hashes[i].tobytes(), ()))
                        )
                    )
    except ForeignStoreError as error:  # with a right seal its maker meant it: repair leaves it to the user
        return Verdict(path, 0, (), whole, str(error).removeprefix(f"{path}: "), torn, foreign=whole)
    except BROKEN as error:
        return Verdict(path, count, (), whole, f"HDF5 cannot read it: {error}", torn)
    return Verdict(path, count, tuple(damaged), whole, "", torn)


def describe(verdict: Verdict) -> str:
    """What was found, in words: one line, and one for each of the first damaged rows."""
    name, lines = verdict.path, []
    if verdict.foreign:
        lines.append(f"{name}: left alone: {verdict.unreadable}")
    elif verdict.unreadable:
        lines.append(f"{name}: DAMAGED, none of its rows can be read ({verdict.unreadable})")
    elif verdict.damaged:
        lines.append(f"{name}: DAMAGED, {len(verdict.damaged)} of {counted(verdict.rows, 'row')}")
    elif not verdict.whole:
        lines.append(
            f"{name}: DAMAGED outside the rows (structure, names or measurements); its {counted(verdict.rows, 'row')} "
            f"{are(verdict.rows)} whole"
        )
    elif not verdict.folded:
        lines.append(f"{name}: not folded in yet, {counted(verdict.rows, 'committed row')}")
    else:
        lines.append(f"{name}: whole, {counted(verdict.rows, 'row')}")
    for one in verdict.damaged[:SHOWN_ROWS]:
        where = f"views {one.spec}, row {one.row}" if one.spec else f"row {one.row}"
        lines.append(f"  {where}, sha256 {one.sha256[:16]}..: {', '.join(one.names) or 'of no image in its tables'}")
    if len(verdict.damaged) > SHOWN_ROWS:
        lines.append(f"  and {len(verdict.damaged) - SHOWN_ROWS} more")
    lines += [f"  {part}: torn; its rows are extracted again" for part in verdict.torn_parts]
    return "\n".join(lines)


def repair(verdict: Verdict) -> bool:
    """Drop what `verdict` found to be damaged; whatever matches its checksum stays. False where the store is in use.

    Of a file that cannot be read at all nothing stays. The tables of data sets, which have no checksums of their own,
    are dropped from a damaged file and written again when a command next uses them.
    """
    path, locks = verdict.path, StoreLocks(verdict.path)
    with locks.alone() as alone:
        if not alone or verdict.foreign:
            return False
        for part in verdict.torn_parts:
            part.unlink(missing_ok=True)
        if verdict.unreadable:
            path.unlink(missing_ok=True)
        elif (verdict.damaged or not verdict.whole) and _rebuild(path) == 0:
            path.unlink()
    return True


def _rebuild(path: Path) -> int:
    """Write the file anew from what matches its checksum; returns how many rows of view 0 that is."""
    with replacing(path) as temporary:
        with reading(path) as old, editing(temporary) as (new, _):
            # What is not sound here is written again by the next command that uses the store.
            for name in layout.sound_attributes(old):
                new.attrs[name] = old.attrs[name]
            new.attrs["format_version"] = FORMAT_VERSION
            layout.create_hashes(new)
            appender = layout.Appender(new)
            for rows in _every_row(old):
                appender.rows(rows.spec, [h.tobytes().hex() for h in rows.hashes[rows.ok]], rows.values[rows.ok])
            layout.finish_file(new)
            count = len(new["sha256"])
        seal(temporary)
    return count


def _belongs_elsewhere(file: h5py.File, path: Path) -> str:
    """Why a sound file is none of this version's stores under this name; "" where it is one."""
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        return f"it has the format {version}; this version reads {FORMAT_VERSION}"
    if "identity" in file.attrs:
        identity = Identity.from_dict(json.loads(file.attrs["identity"]))
        if identity.stem != path.stem:
            return f"it is {identity.stem}.h5 under another name"
    return ""


def _every_row(file: h5py.File) -> Iterator[_Rows]:
    """All rows, chunk by chunk, view 0 first."""
    hashes = _column(file, "sha256", np.dtype("u1"))
    for spec in ["", *_specs(file)]:
        place = layout.group_name(spec)
        group = file[place]
        if "features" not in group:
            continue
        own = hashes
        if spec:
            points = _column(group, "row", np.dtype("i8"))
            inside = (points >= 0) & (points < len(hashes))
            own = np.where(inside[:, None], hashes[np.where(inside, points, 0)], 0).astype(np.uint8)
        crcs = _column(group, "crc32", np.dtype("u4"))
        for start, values in _chunks(group["features"]):
            n = min(len(values), len(own) - start, len(crcs) - start)
            names = own[start : start + n]
            yield _Rows(spec, start, names, values[:n], layout.row_crcs(names, values[:n]) == crcs[start : start + n])


def _specs(file: h5py.File) -> list[str]:
    try:
        return sorted(file["augmented"]) if "augmented" in file else []
    except BROKEN:
        return []


def _column(group: h5py.Group, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    data = group[name]
    pieces = [values for _, values in _chunks(data)]
    return np.concatenate(pieces) if pieces else np.empty((0, *data.shape[1:]), dtype)


def _chunks(data: h5py.Dataset) -> Iterator[tuple[int, NDArray[Any]]]:
    """Each chunk's first row and its values; zeros, which match no checksum, where a chunk cannot be found."""
    for start in range(0, len(data), data.chunks[0]):
        n = min(data.chunks[0], len(data) - start)
        try:
            # HDF5 gives nothing at all of a chunk that fails its checksum, and only one row of it may be damaged.
            _, raw = data.id.read_direct_chunk((start, *(0 for _ in data.shape[1:])))
            yield start, np.frombuffer(raw[:-FLETCHER_BYTES], data.dtype).reshape(data.chunks)[:n]
        except BROKEN:
            yield start, np.zeros((n, *data.shape[1:]), data.dtype)


def _names(file: h5py.File) -> dict[bytes, list[str]]:
    """Content hash -> the names of its image files, as far as the file's own tables can be read."""
    names: dict[bytes, list[str]] = {}
    try:
        hashes = _column(file, "sha256", np.dtype("u1"))
        for dataset in file["datasets"].values():
            for split in dataset.values():
                for row, name in zip(split["row"][:], split["path"].asstr()[:], strict=True):
                    names.setdefault(hashes[row].tobytes(), []).append(name)
    except BROKEN:
        pass
    return names
