"""What is in the cache, what may go, and which store nearly matches."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_store import fill, info

from featcache.records import Preprocessing
from featcache.store import FeatureStore
from featcache.store.upkeep import list_stores, prune, why_new

DAY = 86_400


@pytest.fixture
def three(tmp_path: Path) -> list[FeatureStore]:
    """Last used 1, 10 and 100 days ago."""
    stores = []
    for days in (1, 10, 100):
        store = FeatureStore(tmp_path, info(weights=f"w{days}"))
        fill(store, *range(days))
        then = time.time() - days * DAY
        os.utime(store.path, (then, then))
        stores.append(store)
    return stores


def test_the_list_has_every_store_the_last_used_first(three: list[FeatureStore], tmp_path: Path) -> None:
    entries = list_stores(tmp_path)
    assert [e.path for e in entries] == [s.path for s in three]
    assert [e.rows for e in entries] == [1, 10, 100]
    assert [round(e.idle_days) for e in entries] == [1, 10, 100]
    assert entries[0].size_bytes == three[0].path.stat().st_size
    assert (entries[0].backbone, entries[0].input_size, entries[0].weights) == ("net/work", 32, "random(0)")
    assert entries[0].dtype == "float16" and not entries[0].fault


def test_a_damaged_file_and_committed_rows_alone_are_listed(tmp_path: Path) -> None:
    (tmp_path / "net-32-00000000.h5").write_bytes(b"torn")
    store = FeatureStore(tmp_path, info())
    store.parts.write("", ["0" * 64], np.zeros((1, 8), np.float16))
    faults = {e.path.name: e.fault for e in list_stores(tmp_path)}
    assert "cannot be read" in faults["net-32-00000000.h5"]
    assert "nothing folded in yet" in faults[store.path.name]


def test_using_a_store_makes_it_young(three: list[FeatureStore], tmp_path: Path) -> None:
    three[2].hold()
    assert list_stores(tmp_path)[0].path == three[2].path


def test_pruning_by_age(three: list[FeatureStore], tmp_path: Path) -> None:
    assert [p.entry.path for p in prune(tmp_path, older_than_days=50, dry_run=True)] == [three[2].path]
    assert three[2].path.exists()
    prune(tmp_path, older_than_days=5)
    assert [s.path.exists() for s in three] == [True, False, False]


def test_pruning_by_size_takes_the_longest_unused_first(three: list[FeatureStore], tmp_path: Path) -> None:
    sizes = [s.path.stat().st_size for s in three]
    prune(tmp_path, max_gb=(sizes[0] + sizes[1] + 10) / 1e9)
    assert [s.path.exists() for s in three] == [True, True, False]
    assert prune(tmp_path, max_gb=1.0) == []


def test_pruning_what_no_run_used(three: list[FeatureStore], tmp_path: Path) -> None:
    prune(tmp_path, used=frozenset({three[1].path.name}))
    assert [s.path.exists() for s in three] == [False, True, False]


def test_what_is_in_use_is_never_pruned(three: list[FeatureStore], tmp_path: Path) -> None:
    reader = FeatureStore(tmp_path, three[2].info)
    reader.hold()
    then = time.time() - 100 * DAY
    os.utime(reader.path, (then, then))
    (pruned,) = prune(tmp_path, older_than_days=50)
    assert pruned.kept and three[2].path.exists()
    del reader
    (pruned,) = prune(tmp_path, older_than_days=50)
    assert not pruned.kept and not three[2].path.exists()


def test_pruning_by_size_goes_on_past_what_is_in_use(three: list[FeatureStore], tmp_path: Path) -> None:
    reader = FeatureStore(tmp_path, three[2].info)
    reader.locks.hold()
    pruned = prune(tmp_path, max_gb=(three[0].path.stat().st_size + three[2].path.stat().st_size + 10) / 1e9)
    assert [(p.entry.path, p.kept) for p in pruned] == [(three[2].path, True), (three[1].path, False)]
    assert three[0].path.exists()


def test_temporary_files_of_the_dead_are_swept(tmp_path: Path, three: list[FeatureStore]) -> None:
    old, young = (tmp_path / f".x.h5.{n}.tmp" for n in (1, 2))
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (0, 0))
    prune(tmp_path, older_than_days=1000)
    assert not old.exists() and young.exists()


def test_a_store_that_nearly_matches_says_what_differs(tmp_path: Path) -> None:
    fill(FeatureStore(tmp_path, info()), 1)
    wanted = info(weights="f" * 64).identity
    assert why_new(tmp_path, wanted) == (
        f"the nearest store, {FeatureStore(tmp_path, info()).path.name}, does not match: weights is w there, ffffffff "
        "here"
    )
    resized = replace(info().identity, preprocessing=Preprocessing(32, 40))
    assert "preprocessing.resize_size is 36 there, 40 here" in str(why_new(tmp_path, resized))
    assert why_new(tmp_path, replace(info().identity, backbone="another")) is None


def test_the_nearest_is_the_one_with_the_fewest_differences(tmp_path: Path) -> None:
    near = FeatureStore(tmp_path, info(dtype="float32"))
    fill(near, 1)
    fill(FeatureStore(tmp_path, info(dtype="float32", weights="x")), 1)
    assert near.path.name in str(why_new(tmp_path, info().identity))
