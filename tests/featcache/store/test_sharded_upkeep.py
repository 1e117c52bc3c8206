"""Sharded stores looked after: listed, verified, repaired, pruned, merged and split."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from s3_server import s3_server
from test_sharded_store import manifest_of, sharded
from test_store import fill, info, rows, sha

from featcache.errors import InputError, StoreError
from featcache.options import cache_folder
from featcache.store import (
    FeatureStore,
    ShardedStore,
    describe,
    has_store,
    list_stores,
    merge,
    prune,
    repair,
    split,
    store_at,
    store_in,
    stores,
    verify,
    why_new,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


@pytest.fixture
def store(tmp_path: Path, home: None) -> ShardedStore:
    """Six rows in two parts, views of two of them, and a data set."""
    made = sharded(tmp_path / "cache")
    with made.writing() as writer:
        writer.append([sha(n) for n in range(6)], rows(*range(6)))
        writer.append([sha(4), sha(0)], np.stack([rows(7, 8), rows(9, 10)]), "abcd1234")
        writer.profiles["key"] = {"latency": 1.5}
        writer.extraction = {"images": 6}
    made.save_dataset(manifest_of(tmp_path, 0, 4, 5))
    return made


def part_of(store: ShardedStore, number: int, ending: str = ".h5") -> Path:
    return store.path.with_suffix("") / (store.committed()[number].part.file.removesuffix(".h5") + ending)


def truncate(store: ShardedStore) -> None:
    part = part_of(store, 1)
    part.write_bytes(part.read_bytes()[:-100])


def lose(store: ShardedStore) -> None:
    part_of(store, 1).unlink()


def flip(store: ShardedStore) -> None:
    data = bytearray(part_of(store, 1).read_bytes())
    data[len(data) // 2] ^= 1
    part_of(store, 1).write_bytes(bytes(data))


def lose_hashes(store: ShardedStore) -> None:
    part_of(store, 1, ".hashes").unlink()


def put_a_stranger(store: ShardedStore) -> None:
    """A part of another network in the place of one, with the same images."""
    other = store_in(store.path.parent / "other", info(weights="x"), 3)
    assert isinstance(other, ShardedStore)
    fill(other, 3, 4, 5)
    shutil.copy(part_of(other, 0), part_of(store, 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "bytes, .* were put there"),
        (lose, "is gone"),
        (flip, "not what was put there"),
        (lose_hashes, "hashes is gone"),
        (put_a_stranger, "not what was put there|bytes"),
    ],
)
def test_a_damaged_part_is_found_dropped_and_filled_again(
    store: ShardedStore, damage: Callable[[ShardedStore], None], said: str
) -> None:
    assert verify(store.path).ok and "whole, 8 rows in 3 parts" in describe(verify(store.path))
    damage(store)
    if damage is not flip:  # which may be in a byte that holds nothing
        with pytest.raises(StoreError, match="verify --repair"):
            ShardedStore.at(store.path).read([sha(n) for n in range(6)])
    found = verify(store.path)
    assert not found.ok and re.search(said, describe(found)) and "DAMAGED, 3 rows lost; 5 rows" in describe(found)
    assert "rows-0-base-000000000003-000000000005" in describe(found)
    assert repair(found) and verify(store.path).ok
    assert store.lacking([sha(n) for n in range(6)]) == [sha(3), sha(4), sha(5)]
    fill(store, 3, 4, 5)
    assert np.array_equal(store.read([sha(n) for n in range(6)]), rows(*range(6))) and verify(store.path).ok


def test_records_of_another_store_and_torn_ones_are_not_read(store: ShardedStore, tmp_path: Path) -> None:
    other = store_in(tmp_path / "other", info(weights="x"), 3)
    assert isinstance(other, ShardedStore)
    fill(other, 11, 12)
    folder = store.path.with_suffix("")
    shutil.copytree(other.path.with_suffix(""), folder, dirs_exist_ok=True)  # as by a mistaken copy
    (folder / "manifest" / "rows-torn.json").write_text("{")
    (folder / "manifest" / "rows-newer.json").write_text('{"format_version": 99}')
    assert len(store.rows()) == 6 and np.array_equal(store.read([sha(1)]), rows(1))
    found = verify(store.path)
    said = describe(found)
    assert not found.ok and f"is of another store, {other.path.stem}" in said and "the record is damaged" in said
    assert "left alone: it has the format 99" in said
    assert repair(found) and verify(store.path).ok and (folder / "manifest" / "rows-newer.json").exists()
    assert len(store.rows()) == 6 and ShardedStore.at(store.path).info == store.info


def test_repair_leaves_a_store_that_is_in_use(store: ShardedStore) -> None:
    lose(store)
    store.hold()
    assert not repair(verify(store.path)) and not verify(store.path).ok


def test_the_list_and_prune(store: ShardedStore, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fill(FeatureStore(cache, info(weights="one file")), 1)
    one, *_ = [entry for entry in list_stores(cache) if entry.where]
    assert (one.rows, one.views, one.parts, one.dtype, one.datasets) == (6, 4, 3, "float16", (tmp_path.name,))
    files = store.path.with_suffix("").glob("part-*")
    assert one.size_bytes == sum(file.stat().st_size for file in files) and one.backbone == "net/work"
    left = store.path.with_suffix("") / "part-0-base-0-left.h5"  # by a writer that was killed before its commit
    left.write_bytes(b"x")
    assert "1 file that no record names" in describe(verify(store.path)) and verify(store.path).ok
    prune(cache, older_than_days=1)
    assert left.exists()  # it may be at work
    os.utime(left, (1, 1))
    prune(cache, older_than_days=1)
    assert not left.exists() and verify(store.path).ok
    pruned = prune(cache, used=frozenset())
    assert sorted(p.entry.path for p in pruned) == sorted(stores(cache) + [p.entry.path for p in pruned])
    assert not store.path.with_suffix("").exists() and stores(cache) == []


def contents(path: Path) -> dict[str, Any]:
    """Everything that an HDF5 file says, but for checksums of attributes."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        found["/"] = dict(file.attrs)
        found["/"].pop("attributes_crc32")

        def visit(name: str, one: Any) -> None:
            attributes = {key: np.asarray(value).tolist() for key, value in one.attrs.items()}
            value = (one[()].tolist(), str(one.dtype)) if isinstance(one, h5py.Dataset) else None
            found[name] = (value, attributes)

        file.visititems(visit)
    return found


def made_file(folder: Path, root: Path) -> FeatureStore:
    single = FeatureStore(folder, info())
    with single.writing() as writer:
        writer.append([sha(n) for n in (5, 1, 9, 4, 7)], rows(5, 1, 9, 4, 7))
        writer.append([sha(n) for n in (5, 9, 7)], np.stack([rows(n, n + 1) for n in (5, 9, 7)]), "abcd1234")
        writer.profiles["key"] = {"latency": 1.5}
        writer.extraction = {"images": 5}
    for numbers in ((5, 1), (9, 4, 7)):
        single.save_dataset(manifest_of(root, *numbers))
    return single


def test_what_is_split_and_merged_is_equal_in_every_bit(tmp_path: Path, home: None) -> None:
    single = made_file(tmp_path / "cache", tmp_path)
    before = contents(single.path)
    parts = split(single.path, 2)
    assert not single.path.exists() and [r.rows for r in parts.every_part()] == [2, 2, 1, 2, 1]
    assert verify(single.path).ok and has_store(single.path)
    found = store_at(single.path)
    assert np.array_equal(found.read([sha(4), sha(5)]), rows(4, 5)) and found.profiles() == {"key": {"latency": 1.5}}
    assert found.dataset(manifest_of(tmp_path, 9, 4, 7).fingerprint) == manifest_of(tmp_path, 9, 4, 7)
    with pytest.raises(InputError, match="in parts already"):
        split(single.path, 2)
    copied = merge(single.path, tmp_path / "copy")
    assert merge(single.path).path == single.path and not single.path.with_suffix("").exists()
    assert contents(single.path) == contents(copied.path) == before and verify(single.path).ok
    with pytest.raises(InputError, match="one file already"):
        merge(single.path)


def test_a_split_that_was_killed_begins_again_and_a_used_store_is_left(tmp_path: Path, home: None) -> None:
    single = made_file(tmp_path / "cache", tmp_path)
    before = contents(single.path)
    halfway = tmp_path / "halfway.h5"
    shutil.copy(single.path, halfway)
    split(single.path, 3)
    shutil.copy(halfway, single.path)  # killed before the file was removed: it counts
    assert type(store_at(single.path)) is FeatureStore
    assert [r.rows for r in split(single.path, 2).committed()] == [2, 2, 1]
    store = store_at(single.path)
    store.hold()
    with pytest.raises(StoreError, match="a process works with it"):
        merge(single.path)
    del store
    merge(single.path)
    assert contents(single.path) == before


@pytest.mark.parametrize("kind", ["memory", pytest.param("s3", marks=pytest.mark.slow)])
def test_a_store_goes_to_an_object_store_and_back(
    tmp_path: Path, home: None, kind: str, request: pytest.FixtureRequest
) -> None:
    single = made_file(tmp_path / "cache", tmp_path)
    bucket = request.getfixturevalue("s3") if kind == "s3" else f"memory://{tmp_path.name}"
    there = cache_folder(f"{bucket}/copied")
    for _ in range(2):  # the second time there is nothing to do
        parts = split(single.path, 2, there)
        assert [r.rows for r in parts.committed()] == [2, 2, 1] and single.path.exists()
    fill(single, 11)
    assert [r.rows for r in split(single.path, 2, there).committed()] == [2, 2, 1, 1]
    assert stores(there) == [parts.path] and verify(parts.path).ok and list_stores(there)[0].rows == 6
    assert why_new(there, info(weights="x").identity) is not None
    with pytest.raises(InputError, match="--to FOLDER"):
        merge(parts.path)
    back = merge(parts.path, tmp_path / "back")
    assert contents(back.path) == contents(single.path)
    part = parts.committed()[1].part
    parts.place.remove([part.file])
    found = verify(parts.path)
    assert not found.ok and repair(found) and len(parts.rows()) == 4
    parts.read([sha(5)])
    assert prune(there, used=frozenset())[0].entry.where == f"{bucket}/copied/{single.path.stem}"
    assert not parts.place.listed() and not list(there.glob("copies/*"))
    assert kind == "memory" or stores(there) == []  # fsspec's memory keeps folders that hold nothing


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server() as url:
        yield url
