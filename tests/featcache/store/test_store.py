"""The store: only what is committed is read, and the file explains itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from featcache.errors import NonFiniteError, StoreError
from featcache.places import FilePlace
from featcache.records import BackboneInfo, Identity, ImageRecord, Manifest, Preprocessing, WeightsOrigin
from featcache.store import FeatureStore

FEATURES = 8


def info(dtype: str = "auto", weights: str = "w") -> BackboneInfo:
    identity = Identity("net/work", "custom", weights, Preprocessing(32, 36), "input of fc", "float32", dtype)
    return BackboneInfo(identity, FEATURES, 123, WeightsOrigin("random", "random(0)"))


def sha(i: int) -> str:
    return f"{i:064x}"


def rows(*numbers: int) -> np.ndarray:
    return np.array([[n + f / 16 for f in range(FEATURES)] for n in numbers], dtype=np.float32)


def fill(store: FeatureStore, *numbers: int) -> None:
    with store.writing() as writer:
        writer.append([sha(n) for n in numbers], rows(*numbers))


def test_rows_come_back_by_content_whatever_the_order(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 5, 1, 9)
    fill(store, 3)
    assert set(store.rows()) == {sha(n) for n in (5, 1, 9, 3)}
    assert np.array_equal(store.read([sha(3), sha(9), sha(9), sha(5)]), rows(3, 9, 9, 5))


def test_a_row_that_is_missing_is_an_error(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 1)
    with pytest.raises(StoreError, match="no row for 1 of 2 images"):
        store.read([sha(1), sha(2)])


def test_the_same_content_twice_makes_one_row(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 1, 1)
    fill(store, 1)
    with h5py.File(store.path) as file:
        assert file["features"].shape == (1, FEATURES)


def test_the_file_explains_itself(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 1, 2, 3)
    images = (
        ImageRecord(FilePlace.at(tmp_path / "a"), "train/cat/a ü.png", sha(2), 0, "train"),
        ImageRecord(FilePlace.at(tmp_path / "b"), "val/dog/b.png", sha(1), 1, "val"),
    )
    manifest = Manifest("my data", tmp_path, ("cat", "dog"), images)
    store.save_dataset(manifest)
    store.save_dataset(manifest)  # once is enough
    with store.writing() as writer:
        writer.profiles["key"] = {"latency": 1.5}
    with h5py.File(store.path) as file:
        assert file.attrs["format_version"] == 2
        assert json.loads(file.attrs["identity"])["backbone"] == "net/work"
        assert json.loads(file.attrs["provenance"])["versions"]["torch"]
        assert json.loads(file.attrs["profile"]) == {"key": {"latency": 1.5}}
        assert file["features"].fletcher32
        assert file["features"].dtype == np.float16
        assert file["sha256"].shape == (3, 32)
        ((name, group),) = file["datasets"].items()
        assert name.startswith(f"my_data-{manifest.fingerprint[:8]}-")
        assert list(group.attrs["classes"]) == ["cat", "dog"]
        train = group["train"]
        assert train["path"].asstr()[:].tolist() == ["train/cat/a ü.png"]
        assert file["sha256"][train["row"][0]].tobytes().hex() == sha(2)
        assert group["val"]["label"][:].tolist() == [1]
    assert store.path.name.startswith("net_work-32-")


def test_another_identity_is_another_file(tmp_path: Path) -> None:
    paths = {FeatureStore(tmp_path, i).path for i in (info(), info(weights="x"), info(dtype="float32"))}
    assert len(paths) == 3


def test_float16_is_left_when_values_are_too_large(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 1, 2)
    assert store.dtype() == "float16"
    fill(store, 70_000)
    assert store.dtype() == "float32"
    assert np.array_equal(store.read([sha(1), sha(70_000)]), rows(1, 70_000))


def test_float16_is_left_when_values_are_too_small(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    tiny = rows(1) * 1e-7  # subnormal in float16
    with store.writing() as writer:
        writer.append([sha(1)], tiny)
    assert store.dtype() == "float32"
    assert np.array_equal(store.read([sha(1)]), tiny)


def test_a_row_does_not_depend_on_the_rows_it_was_stored_with(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, FEATURES)).astype(np.float32)
    values[13] *= 1e5  # too large for float16: the file becomes float32 on the way
    read = []
    for cuts in ((20,), (5, 20), (14, 20), (13, 14, 20)):
        store = FeatureStore(tmp_path / str(cuts), info())
        start = 0
        for stop in cuts:
            with store.writing() as writer:
                writer.append([sha(n) for n in range(start, stop)], values[start:stop])
            start = stop
        read.append(store.read([sha(n) for n in range(20)]))
        assert store.dtype() == "float32"
    assert all(np.array_equal(r, read[0]) for r in read)
    assert np.array_equal(read[0][13], values[13])


def test_the_loss_to_float16_is_recorded(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 3)
    with h5py.File(store.path) as file:
        loss = json.loads(file.attrs["float16"])
    assert loss["max_abs"] == pytest.approx(3 + 7 / 16)
    assert 0 <= loss["max_relative_error"] < 1e-3


def test_float16_that_is_asked_for_never_overflows_quietly(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info("float16"))
    with pytest.raises(NonFiniteError, match="float16"):
        fill(store, 70_000)


def test_features_that_are_not_finite_name_their_images_and_keep_the_rest(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    bad = rows(1, 2)
    bad[1, 3] = np.nan
    with pytest.raises(NonFiniteError, match=sha(2)), store.writing() as writer:
        writer.append([sha(7)], rows(7))
        writer.append([sha(1), sha(2)], bad)
    assert set(store.rows()) == {sha(7)}


def test_views_point_at_their_base_rows(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    fill(store, 1, 2, 3)
    views = np.stack([rows(10, 11), rows(20, 21)])
    with store.writing() as writer:
        writer.append([sha(3), sha(1)], views, "abcd1234")
    assert np.array_equal(store.read([sha(1), sha(3)], "abcd1234"), views[::-1])
    with h5py.File(store.path) as file:
        assert file["augmented/abcd1234/row"][:].tolist() == [2, 0]


def test_a_foreign_or_damaged_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    store.path.write_bytes(b"not HDF5")
    with pytest.raises(StoreError, match="cache verify --repair"):
        store.rows()


WRITER = """
    import os, sys, time
    sys.path.insert(0, sys.argv[2])
    from test_store import FeatureStore, Path, info, rows, sha
    import featcache.store.row_writer
    featcache.store.row_writer.COMMIT_SECONDS = 0
    store = FeatureStore(Path(sys.argv[1]), info())
    with store.writing() as writer:
        for n in range(10_000):
            writer.append([sha(n)], rows(n))
            print(n, flush=True)
"""


@pytest.mark.parametrize("committed", [1, 17, 40])
def test_a_killed_writer_loses_nothing_committed(tmp_path: Path, committed: int) -> None:
    script = textwrap.dedent(WRITER)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == committed:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    store = FeatureStore(tmp_path, info())
    with store.writing():  # a dead writer's lock does not block, and its rows are taken over
        pass
    found = store.rows()
    assert {sha(n) for n in range(committed + 1)} <= set(found)
    numbers = sorted(int(h, 16) for h in found)
    assert np.array_equal(store.read([sha(n) for n in numbers]), rows(*numbers))


def test_a_torn_part_is_dropped(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    parts = store.path.with_suffix(".parts")
    with store.writing() as writer:
        for n in (1, 2):
            writer.append([sha(n)], rows(n))
            writer.commit()
        whole, torn = sorted(parts.glob("*.npz"))
        torn.write_bytes(torn.read_bytes()[:-40])  # as after a power cut
        assert whole.exists()
    assert set(store.rows()) == {sha(1)}
    assert not parts.exists()


def test_a_flipped_bit_in_a_part_is_noticed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    with store.writing() as writer:
        writer.append([sha(1)], rows(1))
        writer.commit()
        (part,) = store.path.with_suffix(".parts").glob("*.npz")
        data = bytearray(part.read_bytes())
        data[data.index(rows(1).astype(np.float16).tobytes()) + 3] ^= 4
        part.write_bytes(bytes(data))
    assert store.rows() == {}


def test_a_second_writer_waits_and_says_so(tmp_path: Path) -> None:
    first, second = (FeatureStore(tmp_path, info()) for _ in range(2))
    said: list[str] = []

    def write() -> None:
        with second.writing(said.append) as writer:
            writer.append([sha(2)], rows(2))

    thread = threading.Thread(target=write)
    with first.writing() as writer:
        thread.start()
        while not said:
            time.sleep(0.01)
        writer.append([sha(1)], rows(1))
    thread.join()
    assert "another process" in said[0]
    assert set(first.rows()) == {sha(1), sha(2)}


def test_a_store_is_opened_by_its_file_alone_and_gives_its_data_sets(tmp_path: Path) -> None:
    images = (
        ImageRecord(FilePlace.at(tmp_path / "train/cat/a ü.png"), "train/cat/a ü.png", sha(2), 0, "train"),
        ImageRecord(FilePlace.at(tmp_path / "train/dog/c.png"), "train/dog/c.png", sha(3), 1, "train"),
        ImageRecord(FilePlace.at(tmp_path / "val/dog/b.png"), "val/dog/b.png", sha(1), 1, "val"),
        ImageRecord(FilePlace.at(tmp_path / "test/cat/a.png"), "test/cat/a.png", sha(2), 0, "test"),
    )
    manifest = Manifest(tmp_path.name, tmp_path, ("cat", "dog"), images)
    written = FeatureStore(tmp_path, info())
    fill(written, 1, 2, 3)
    written.save_dataset(manifest)
    store = FeatureStore.at(written.path)
    assert store.info == written.info and store.path == written.path
    assert store.dataset(manifest.fingerprint) == manifest
    assert np.array_equal(store.read([sha(3)]), rows(3))
    other = replace(manifest, root=tmp_path / "x", images=tuple(replace(i, name=f"x/{i.name}") for i in images))
    store.save_dataset(other)  # the same images, called otherwise
    last, of_path = store.dataset(manifest.fingerprint), store.dataset(manifest.fingerprint, str(tmp_path))
    assert [i.name for i in last.images] == [i.name for i in other.images] and of_path == manifest
    with pytest.raises(StoreError, match="knows no data set 00000000"):
        store.dataset("0" * 64)
    with pytest.raises(StoreError, match="no such store"):
        FeatureStore.at(tmp_path / "absent.h5")
