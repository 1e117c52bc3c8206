"""Is every part of a sharded store there, and what was put there (`cache verify`); how others are dropped."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.counted_nouns import are, counted
from featcache.errors import StoreError
from featcache.store.feature_store import open_file
from featcache.store.locks import StoreLocks
from featcache.store.part_building import file_digest, identity_of, temporary_file
from featcache.store.part_files import Parts, is_torn
from featcache.store.part_records import NotesRecord, RowsRecord, Signed, Stored
from featcache.store.place_choice import place_of
from featcache.store.shard_manifest import Listed, ShardManifest
from featcache.store.shared_place import SharedPlace, Stamp

SHOWN = 20
LOST = {errno.ENOENT, errno.EIO}  # gone this moment; a bad sector


@dataclass(frozen=True)
class PartFault:
    """A record whose part is not what was put there."""

    record: str
    why: str
    rows: int
    files: tuple[str, ...]  # that go with it
    foreign: bool = False  # another version's: repair leaves it


@dataclass(frozen=True)
class ShardedVerdict:
    """What the verification of one sharded store found."""

    path: Path
    where: str
    rows: int  # that are whole, views counted apart
    parts: int
    faults: tuple[PartFault, ...]
    leftovers: int  # files that no record names
    torn_parts: tuple[Path, ...]  # committed rows on this machine that a power cut tore

    @property
    def ok(self) -> bool:
        """Nothing is wrong that repair could mend."""
        return all(fault.foreign for fault in self.faults) and not self.torn_parts


def verify_sharded(path: Path) -> ShardedVerdict:
    """Read every byte of a sharded store, each part by its own; changes nothing."""
    place = place_of(path)
    listed = ShardManifest(place).listed()
    stamps = place.listed()
    faults = [_unread(place, name) for name in listed.unread]
    rows = parts = 0
    for signed in listed.records:
        why = _fault(place, stamps, signed, path)
        own = signed.record.rows if isinstance(signed.record, RowsRecord) else 0
        if why:
            files = tuple(one.file for one in _files(signed) if one.file in stamps)
            faults.append(PartFault(signed.record.name, why, own, files))
        else:
            rows, parts = rows + own, parts + (own > 0)
    torn = tuple(p for p in Parts(path.with_suffix(".parts")).files() if is_torn(p))
    return ShardedVerdict(path, place.name, rows, parts, tuple(faults), len(leftovers(listed, stamps)), torn)


def describe_sharded(verdict: ShardedVerdict) -> str:
    """What was found, in words: one line, and one for each of the first faults."""
    whole = f"{counted(verdict.rows, 'row')} in {counted(verdict.parts, 'part')}"
    if any(not fault.foreign for fault in verdict.faults):
        lost = sum(fault.rows for fault in verdict.faults)
        lines = [f"{verdict.where}: DAMAGED, {counted(lost, 'row')} lost; {whole} {are(verdict.rows)} whole"]
    else:
        lines = [f"{verdict.where}: whole, {whole}"]
    lines += [f"  {fault.record}: {fault.why}" for fault in verdict.faults[:SHOWN]]
    if len(verdict.faults) > SHOWN:
        lines.append(f"  and {len(verdict.faults) - SHOWN} more")
    lines += [f"  {part}: torn; its rows are extracted again" for part in verdict.torn_parts]
    if verdict.leftovers:
        left = counted(verdict.leftovers, "file")
        lines.append(f"  {left} that no record names, as a killed writer leaves them; `cache prune` removes them")
    return "\n".join(lines)


def repair_sharded(verdict: ShardedVerdict) -> bool:
    """Drop what `verdict` found from the manifest, and its files; False where a process of this machine works with the
    store."""
    place = place_of(verdict.path)
    with StoreLocks(verdict.path).alone() as alone:
        if not alone:
            return False
        for part in verdict.torn_parts:
            part.unlink(missing_ok=True)
        bad = [fault for fault in verdict.faults if not fault.foreign]
        ShardManifest(place).dropped([fault.record for fault in bad])
        place.remove([file for fault in bad for file in fault.files])
    return True


def leftovers(listed: Listed, stamps: Iterable[str]) -> list[str]:
    """The files that no record names."""
    named = {one.file for signed in listed.records for one in _files(signed)}
    return [name for name in stamps if name.startswith("part-") and name not in named]


def _unread(place: SharedPlace, name: str) -> PartFault:
    """A record that this version makes nothing of."""
    data = next(iter(place.read([f"manifest/{name}.json"]).values()), b"")
    try:
        version = json.loads(data)["format_version"]
    except (ValueError, KeyError, TypeError):
        return PartFault(name, "the record is damaged", 0, ())
    return PartFault(name, f"left alone: it has the format {version}, or fields that this version has not", 0, (), True)


def _fault(place: SharedPlace, stamps: dict[str, Stamp], signed: Signed, path: Path) -> str:
    """What is wrong with a record or its files; "" where nothing is."""
    if (stem := signed.info.identity.stem) != path.stem:
        return f"is of another store, {stem}"
    for stored in _files(signed):
        if stored.file not in stamps:
            return f"{stored.file} is gone"
        if stamps[stored.file].size != stored.size:
            return f"{stored.file} has {stamps[stored.file].size} bytes, {stored.size} were put there"
    return _content_fault(place, signed, path)


def _content_fault(place: SharedPlace, signed: Signed, path: Path) -> str:
    """A network that is gone is no fault of a part: what it raises ends the verification."""
    contents = {}
    for stored in _files(signed):
        with temporary_file(path.parent, f"{path.stem}-verify") as temporary:
            try:
                file = place.file_of(stored.file)
                if file is None:
                    place.fetch(stored.file, file := temporary)
                if file_digest(file) != stored.sha256:
                    return f"{stored.file} is not what was put there"
            except OSError as error:
                if error.errno not in LOST:
                    raise
                return f"{stored.file}: {error.strerror}"
            if not stored.file.endswith(".h5"):
                contents["listed"] = file.read_bytes()
                continue
            try:
                with open_file(file) as opened:
                    if (stem := identity_of(opened)) != path.stem:
                        return f"{stored.file} is of another store, {stem}"
                    contents["rows"] = np.asarray(opened["sha256"][:]).tobytes()
            except StoreError as error:
                return str(error)
    if "listed" in contents and contents["listed"] != contents["rows"]:
        return "the hashes beside the part are not those of its rows"
    return ""


def _files(signed: Signed) -> tuple[Stored, ...]:
    record = signed.record
    if isinstance(record, RowsRecord):
        return record.part, record.hashes
    return () if isinstance(record, NotesRecord) else (record.part,)
