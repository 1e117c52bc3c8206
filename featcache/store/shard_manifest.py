"""The manifest of a sharded store: the folder `manifest/`, whose list is what is committed.

One record a part rather than one file that everybody rewrites. Writers on any number of machines add records and
touch no other's, so two that commit at once both land, without locks, generations or a loop of tries, on a shared
folder and on any object store alike; and a record that was lost loses its own part only. A part is put first, under a
name with its own digest, and its record is created last (`part_commit`). A record is named for the images it is of, and
of two the first counts, so rows that are delivered twice are there once. A name counts from the moment that the list
shows it; `dropped` takes it out again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from featcache.records import BackboneInfo, digest
from featcache.store.part_records import DatasetRecord, NotesRecord, Record, RowsRecord, Signed, read_record
from featcache.store.shared_place import SharedPlace, Stamp

log = logging.getLogger("featcache")

FOLDER = "manifest"
ENDING = ".json"
R = TypeVar("R", RowsRecord, DatasetRecord, NotesRecord)


@dataclass(frozen=True)
class Listed:
    """The records that a list showed, in the order of their names; those that are no records of this version apart."""

    records: tuple[Signed, ...]
    unread: tuple[str, ...]

    def of(self, kind: type[R], info: BackboneInfo | None = None) -> tuple[R, ...]:
        """Those of one kind, of the store of `info`."""
        return tuple(
            one.record
            for one in self.records
            if isinstance(one.record, kind) and (info is None or one.info.identity == info.identity)
        )


class ShardManifest:
    """The records in `manifest/` of a place; those that were read are kept, by what the list says of them."""

    def __init__(self, place: SharedPlace) -> None:
        self.place = place
        self._known: dict[str, tuple[Stamp, Signed | None]] = {}

    def listed(self) -> Listed:
        """What is committed now."""
        stamps = {n.removesuffix(ENDING): s for n, s in self.place.listed(FOLDER).items() if n.endswith(ENDING)}
        fresh = [n for n, stamp in stamps.items() if n not in self._known or self._known[n][0] != stamp]
        read = self.place.read([_file(name) for name in fresh])
        for name in fresh:
            if _file(name) in read:
                self._known[name] = stamps[name], read_record(read[_file(name)])
            else:
                del stamps[name]  # dropped this moment
        self._known = {name: self._known[name] for name in sorted(stamps)}
        signed = [one for _, one in self._known.values() if one is not None]
        return Listed(tuple(signed), tuple(n for n, (_, one) in self._known.items() if one is None))

    def has(self, name: str) -> bool:
        """Whether this record is committed."""
        return bool(self.place.read([_file(name)]))

    def names(self) -> set[str]:
        """Every record's name, by the list alone."""
        return {n.removesuffix(ENDING) for n in self.place.listed(FOLDER) if n.endswith(ENDING)}

    def commit(self, record: Record, info: BackboneInfo) -> bool:
        """Readers see it from here on; False where one of this name was there before."""
        signed = Signed(record, info, datetime.now(UTC).isoformat(timespec="seconds"))
        return self.place.create(_file(record.name), signed.as_bytes())

    def record(self, name: str) -> Record | None:
        """The record of this name as it stands."""
        data = self.place.read([_file(name)])
        signed = read_record(next(iter(data.values()))) if data else None
        return None if signed is None else signed.record

    def dropped(self, names: Sequence[str]) -> None:
        """Nobody sees these from here on."""
        self.place.remove([_file(name) for name in names])


def notes_name(notes: object) -> str:
    """A name behind those of all notes before."""
    return f"notes-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}-{digest(notes)[:8]}"


def _file(name: str) -> str:
    return f"{FOLDER}/{name}{ENDING}"
