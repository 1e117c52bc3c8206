"""What the manifest of a sharded store holds: a small JSON record for each part, data set and set of notes.

A record is the commit of what it names: parts that no record names are seen by nobody. Each says the store's identity
itself, so that one record is enough to open a store, and one that was copied in from another store is known by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from featcache.records import FORMAT_VERSION, BackboneInfo, Identity, WeightsOrigin, digest

Kind = Literal["rows", "dataset", "notes"]


@dataclass(frozen=True)
class Shard:
    """Images whose rows make one part: their range in the writer's own order, and a digest of which they are."""

    first: int
    last: int
    key: str

    @classmethod
    def of(cls, first: int, sha256: Sequence[str]) -> Shard:
        """The images with these content hashes, the first of which is number `first`."""
        return cls(first, first + len(sha256) - 1, digest(list(sha256))[:8])

    def name(self, spec: str) -> str:
        """What its part is called: names in order are parts in order, base rows first."""
        return f"{1 if spec else 0}-{spec or 'base'}-{self.first:012d}-{self.last:012d}-{self.key}"


@dataclass(frozen=True)
class Stored:
    """A file of the store."""

    file: str
    size: int  # bytes
    sha256: str


NOT_PUT = Stored("", 0, "")  # of a record that is still to be committed


@dataclass(frozen=True)
class RowsRecord:
    """A part with rows of one spec ("" for view 0)."""

    name: str
    part: Stored
    hashes: Stored  # the rows' content hashes alone, 32 bytes each
    spec: str
    first: int  # of its shard
    last: int
    rows: int
    views: int  # of each row
    dtype: str


@dataclass(frozen=True)
class DatasetRecord:
    """A file with the table of one data set; of several with one fingerprint the largest number is the latest."""

    name: str
    part: Stored
    title: str
    fingerprint: str
    root: str
    number: int


@dataclass(frozen=True)
class NotesRecord:
    """What was measured: profiles, how an extraction went, what float16 lost. Later names win."""

    name: str
    profile: dict[str, Any]
    extraction: dict[str, Any]
    float16: dict[str, float]


Record = RowsRecord | DatasetRecord | NotesRecord
KINDS: dict[Kind, type[RowsRecord] | type[DatasetRecord] | type[NotesRecord]] = {
    "rows": RowsRecord,
    "dataset": DatasetRecord,
    "notes": NotesRecord,
}


@dataclass(frozen=True)
class Signed:
    """A record, whose store it is of, and when it was written."""

    record: Record
    info: BackboneInfo
    created: str

    def as_bytes(self) -> bytes:
        """JSON, from which `read_record` makes it again."""
        kind = next(kind for kind, made in KINDS.items() if isinstance(self.record, made))
        value = {
            "format_version": FORMAT_VERSION,
            "created": self.created,
            "identity": self.info.identity.as_dict(),
            "origin": asdict(self.info.origin),
            "params": self.info.params,
            "features": self.info.features,
            kind: asdict(self.record),
        }
        return json.dumps(value, sort_keys=True, indent=1).encode()


def read_record(data: bytes) -> Signed | None:
    """The record in `data`; None where it is none of this version."""
    try:
        value = json.loads(data)
        if value["format_version"] != FORMAT_VERSION:
            return None
        kind = next(kind for kind in KINDS if kind in value)
        body = dict(value[kind])
        for name in ("part", "hashes"):
            if name in body:
                body[name] = Stored(**body[name])
        info = BackboneInfo(
            Identity.from_dict(value["identity"]),
            int(value["features"]),
            int(value["params"]),
            WeightsOrigin.from_dict(value["origin"]),
        )
        return Signed(KINDS[kind](**body), info, str(value["created"]))
    except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
        return None
