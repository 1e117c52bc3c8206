"""Sharded stores listed, removed, and tidied, by their manifests alone."""

from __future__ import annotations

import shutil
import time
from datetime import datetime
from pathlib import Path

from featcache.store.entries import Entry
from featcache.store.part_files import Parts
from featcache.store.part_records import DatasetRecord, RowsRecord
from featcache.store.place_choice import place_of
from featcache.store.shard_manifest import ShardManifest
from featcache.store.sharded_store import COPIES
from featcache.store.sharded_verification import leftovers


def sharded_entry(path: Path) -> Entry:
    """A sharded store as `cache list` shows it: nothing but its manifest is read. One in an object store counts as used
    when something was last committed, one in a folder when a command last worked with it."""
    place = place_of(path)
    listed = ShardManifest(place).listed()
    own = [one for one in listed.records if one.info.identity.stem == path.stem]
    rows = [one.record for one in own if isinstance(one.record, RowsRecord)]
    base = [record for record in rows if not record.spec]
    tables = [one.record for one in own if isinstance(one.record, DatasetRecord)]
    staged = sum(file.stat().st_size for file in Parts(path.with_suffix(".parts")).files())
    size = sum(r.part.size + r.hashes.size for r in rows) + sum(r.part.size for r in tables) + staged
    used = [datetime.fromisoformat(one.created).timestamp() for one in own]
    if (folder := place.file_of("")) is not None and folder.exists():
        used.append(folder.stat().st_mtime)
    info = own[0].info if own else None
    return Entry(
        path=path,
        backbone=info.identity.backbone if info else path.stem.rsplit("-", 2)[0],
        input_size=info.identity.preprocessing.input_size if info else None,
        weights=info.origin.label if info else "-",
        dtype=max((record.dtype for record in base), key=lambda name: int(name[-2:]), default="-"),
        rows=sum(record.rows for record in base),
        views=sum(record.rows * record.views for record in rows if record.spec),
        datasets=tuple(sorted({record.title.rsplit("-", 2)[0] for record in tables})),
        size_bytes=size,
        created=min((one.created for one in own), default=""),
        idle_seconds=max(0.0, time.time() - max(used, default=0.0)),
        fault="" if own else "nothing of this version is committed",
        parts=len(rows),
        where=place.name,
    )


def remove_sharded(path: Path) -> None:
    """Nothing of the store is left, copies on this machine included."""
    place_of(path).remove_all()
    shutil.rmtree(path.parent / COPIES / path.stem, ignore_errors=True)


def remove_uncommitted(path: Path, after_seconds: float) -> None:
    """Remove files that no record has named for so long: a writer that is at work names them within seconds."""
    place = place_of(path)
    stamps = place.listed()
    old = {name for name, stamp in stamps.items() if 0 < stamp.modified < time.time() - after_seconds}
    place.remove([name for name in leftovers(ShardManifest(place).listed(), stamps) if name in old])
