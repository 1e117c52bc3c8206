"""A built part is put and committed, in this order: its rows, their hashes, and last the record that makes them count.

Killed between, a writer leaves files that no reader sees (`cache prune` removes them), and what waits on its machine is
put again by the next one. Nothing that is there is written over, so readers need no lock either.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from featcache.records import BackboneInfo
from featcache.store.part_building import BuiltPart, stored_as, temporary_file
from featcache.store.part_records import DatasetRecord, NotesRecord, RowsRecord, Shard
from featcache.store.shard_manifest import ShardManifest, notes_name


def commit_part(manifest: ShardManifest, info: BackboneInfo, built: BuiltPart, spec: str, shard: Shard) -> bool:
    """Put a part and commit it; False where the shard had one, which stays."""
    name, place = rows_name(shard, spec), manifest.place
    if manifest.has(name):
        return False
    part = stored_as(shard.name(spec), ".h5", built.file)
    with temporary_file(built.file.parent, f"{built.file.name}.hashes") as file:
        file.write_bytes(built.hashes.tobytes())
        hashes = replace(stored_as("", "", file), file=part.file.removesuffix(".h5") + ".hashes")
        place.put(part.file, built.file)
        place.put(hashes.file, file)
    rows = len(built.sha256)
    record = RowsRecord(name, part, hashes, spec, shard.first, shard.last, rows, built.views, built.dtype)
    if manifest.commit(record, info):
        return True
    first = manifest.record(name)
    if isinstance(first, RowsRecord) and first.part.file != part.file:
        place.remove([part.file, hashes.file])
    return False


def commit_dataset(manifest: ShardManifest, info: BackboneInfo, file: Path, record: DatasetRecord) -> None:
    """Put and commit a file with the table of a data set; of the `record` name and part are filled in here."""
    name = f"dataset-{record.number:06d}-{record.title}"
    part = stored_as(name, ".h5", file)
    manifest.place.put(part.file, file)
    manifest.commit(replace(record, name=name, part=part), info)


def commit_notes(manifest: ShardManifest, info: BackboneInfo, notes: NotesRecord) -> None:
    """Commit notes, behind those of before."""
    manifest.commit(replace(notes, name=notes_name(repr(notes))), info)


def rows_name(shard: Shard, spec: str | None) -> str:
    """The name of the record of a shard's part."""
    return f"rows-{shard.name(spec or '')}"
