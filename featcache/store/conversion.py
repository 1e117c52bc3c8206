"""A sharded store made one file (`cache merge`), any store made parts (`cache split`): the same rows, bit for bit.

Rows keep their order, so what was split and merged again has equal arrays. What is read is checked, row by row, and the
store that was there is removed only when all of the new one is committed; killed before, the same command begins again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.atomic import replacing
from featcache.errors import InputError, StoreError
from featcache.store import dataset_tables, layout
from featcache.store.feature_store import FeatureStore, checked_rows, open_file
from featcache.store.file_seal import seal
from featcache.store.hdf5_io import editing
from featcache.store.opening import is_sharded, store_at
from featcache.store.part_building import build_part, temporary_file
from featcache.store.part_commit import commit_dataset, commit_notes, commit_part
from featcache.store.part_files import Features, Part
from featcache.store.part_records import NOT_PUT, DatasetRecord, NotesRecord, Shard
from featcache.store.sharded_store import ShardedStore
from featcache.store.sharded_upkeep import remove_sharded


def merge(path: Path, folder: Path | None = None) -> FeatureStore:
    """Make the sharded store `path` one file, in its own place or in the cache of another folder, where it is copied.

    Raises InputError where there is nothing to merge or no place for it, StoreError where a part is damaged, or a
    process of this machine works with the store.
    """
    store = store_at(path)
    if not isinstance(store, ShardedStore):
        raise InputError(f"{path}: is one file already. Expected a store in parts.")
    merged = FeatureStore(folder or path.parent, store.info)
    if folder is None and store.place.file_of("") is None:
        raise InputError(f"{store.where}: at a URL every store is in parts. Say where the file goes: --to FOLDER.")
    if merged.exists():
        raise InputError(f"{merged.path}: is there already. Remove it, or name another folder.")
    with _alone(store), replacing(merged.path) as temporary:
        with editing(temporary) as (file, _):
            _write_notes(store, file)
            appender = layout.Appender(file)
            for spec in ("", *_specs(store)):
                for hashes, values in _blocks(store, spec):
                    appender.rows(spec, hashes, values)
            for number, (source, name) in enumerate(_tables(store), 1):
                dataset_tables.copy_dataset(source, name, file, number)
            layout.finish_file(file)
        seal(temporary)
    if folder is None:
        remove_sharded(path)
    return merged


def split(path: Path, rows: int, folder: Path | None = None) -> ShardedStore:
    """Make the store `path` parts of `rows` rows, in its own place or in the cache of another folder or URL
    (`cache_folder`): there, what the store lacks is added.

    Raises InputError where there is no place for it, StoreError where rows are damaged, or a process of this machine
    works with the store.
    """
    store = store_at(path)
    if folder is None and is_sharded(path):
        raise InputError(f"{store.where}: is in parts already. Merge it first, or copy it with --to.")
    target = ShardedStore(folder or path.parent, store.info, rows)
    if folder is not None and not is_sharded(target.path) and target.path.exists():
        raise InputError(f"{target.path}: is there already, in one file. Remove it, or name another place.")
    with _alone(store):
        if folder is None:
            remove_sharded(path)  # what a killed process left
        target.place.require_writable()
        for spec in ("", *_specs(store)):
            _add_parts(store, target, spec)
        for source, name in _tables(store):
            _add_table(source, name, target)
        notes = NotesRecord("", store.profiles(), store.extraction(), store.precision_loss())
        commit_notes(target.manifest, target.info, notes)
        if folder is None:
            path.unlink()
    return target


@contextmanager
def _alone(store: FeatureStore) -> Iterator[None]:
    with store.locks.alone() as alone:
        if not alone:
            raise StoreError(f"{store.where}: a process works with it. Run the same command when none does.")
        yield


def _specs(store: FeatureStore) -> list[str]:
    if isinstance(store, ShardedStore):
        return sorted({record.spec for record in store.every_part() if record.spec})
    with open_file(store.path) as file:
        return sorted(file["augmented"]) if "augmented" in file else []


def _files(store: FeatureStore, spec: str) -> Iterator[Path]:
    if isinstance(store, ShardedStore):
        for record in store.committed(spec):
            yield store.copies.reading(record.part, Path)
    else:
        yield store.path


def _blocks(store: FeatureStore, spec: str) -> Iterator[tuple[list[str], Features]]:
    """All rows of a spec in order, some 64 MB at a time, as stored, each checked."""
    for path in _files(store, spec):
        with open_file(path) as file:
            group = file[layout.group_name(spec)]
            hashes = file["sha256"][:]
            if spec:
                hashes = hashes[group["row"][:]]
            for start, stop in layout.blocks(group["features"]):
                values = checked_rows(file, spec, np.arange(start, stop), hashes[start:stop])
                yield [one.tobytes().hex() for one in hashes[start:stop]], values


def _tables(store: FeatureStore) -> Iterator[tuple[h5py.File, str]]:
    """Each data set's file and its name there, the latest last."""
    if isinstance(store, ShardedStore):
        for record in sorted(store.every_dataset(), key=lambda one: one.number):
            with open_file(store.copies.reading(record.part, Path)) as file:
                yield file, record.title
    else:
        with open_file(store.path) as file:
            yield from ((file, name) for name in dataset_tables.names_in_order(file))


def _provenance(store: FeatureStore) -> str | None:
    """What made the first rows."""
    for path in _files(store, ""):
        with open_file(path) as file:
            return str(file.attrs["provenance"]) if "provenance" in file.attrs else None
    return None


def _add_parts(store: FeatureStore, target: ShardedStore, spec: str) -> None:
    first = 1 + max((record.last for record in target.committed(spec)), default=-1)
    there, made = target.rows(spec), _provenance(store)
    for _, pieces in groupby(_pieces(store, spec, there, target.rows_a_part), key=itemgetter(0)):
        with temporary_file(target.path.parent, f"{target.path.stem}-split") as file:
            built = build_part(file, target.info, (part for _, part in pieces), set(), made)
            assert built is not None  # each piece has rows that are not there
            commit_part(target.manifest, target.info, built, spec, Shard.of(first, built.sha256))
            first += len(built.sha256)


def _pieces(store: FeatureStore, spec: str, there: dict[str, int], rows: int) -> Iterator[tuple[int, Part]]:
    """Runs of rows that are not there, each of one part, with the part's number."""
    done = 0
    for hashes, values in _blocks(store, spec):
        new: NDArray[np.int64] = np.array([i for i, h in enumerate(hashes) if h not in there], np.int64)
        while len(new):
            taken, new = new[: rows - done % rows], new[rows - done % rows :]
            yield done // rows, Part(spec, tuple(hashes[i] for i in taken), values[taken])
            done += len(taken)


def _add_table(source: h5py.File, name: str, target: ShardedStore) -> None:
    group = source[f"datasets/{name}"]
    fingerprint, root = str(group.attrs["fingerprint"]), str(group.attrs["root"])
    known = target.every_dataset()
    if any(one.title == name for one in known):
        return
    number = 1 + max((one.number for one in known), default=0)
    with temporary_file(target.path.parent, f"{target.path.stem}-dataset") as file:
        with editing(file) as (new, _):
            layout.start_file(new, target.info)
            layout.Appender(new).names(dataset_tables.contents(source, name))
            dataset_tables.copy_dataset(source, name, new, number)
            layout.finish_file(new)
        seal(file)
        record = DatasetRecord("", NOT_PUT, name, fingerprint, root, number)
        commit_dataset(target.manifest, target.info, file, record)


def _write_notes(store: ShardedStore, file: h5py.File) -> None:
    if (made := _provenance(store)) is not None:
        file.attrs["provenance"] = made
    layout.start_file(file, store.info)
    notes = {"profile": store.profiles(), "extraction": store.extraction(), "float16": store.precision_loss()}
    for name, value in notes.items():
        if value:
            layout.set_json(file, name, value)
