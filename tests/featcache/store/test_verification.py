"""Any flipped byte is found, the rows it hit are named, and repair drops nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_store import FEATURES, info, rows, sha

from featcache.errors import StoreError
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest
from featcache.store import FeatureStore
from featcache.store.file_seal import seal
from featcache.store.verification import Verdict, describe, repair, verify

COUNT = 40
SPEC = "abcd1234"


def views(*numbers: int) -> np.ndarray:
    return np.stack([rows(n + 40, n + 80) for n in numbers])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """40 rows, views of the first 30, a data set, a profile."""
    store = FeatureStore(tmp_path, info())
    numbers = list(range(COUNT))
    images = tuple(
        ImageRecord(FilePlace.at(tmp_path / f"{n}"), f"train/a/{n}.png", sha(n), 0, "train") for n in numbers
    )
    with store.writing() as writer:
        writer.append([sha(n) for n in numbers], rows(*numbers))
        writer.append([sha(n) for n in numbers[:30]], views(*numbers[:30]), SPEC)
        writer.manifest = Manifest("data", tmp_path, ("a", "b"), images)
        writer.profiles["key"] = {"latency": 1.5}
    return store


def flip(path: Path, offset: int, bits: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(bytes(data))


def offset_of(path: Path, value: bytes) -> int:
    data = path.read_bytes()
    assert data.count(value) == 1
    return data.index(value)


def fill_again(store: FeatureStore) -> int:
    """Extract what is missing; returns how many rows that was."""
    numbers = range(COUNT)
    with store.writing() as writer:
        base = [n for n in numbers if sha(n) not in store.rows()]
        augmented = [n for n in numbers[:30] if sha(n) not in store.rows(SPEC)]
        if base:
            writer.append([sha(n) for n in base], rows(*base))
        if augmented:
            writer.append([sha(n) for n in augmented], views(*augmented), SPEC)
    return len(base) + len(augmented)


def check_complete(store: FeatureStore) -> None:
    assert np.array_equal(store.read([sha(n) for n in range(COUNT)]), rows(*range(COUNT)))
    assert np.array_equal(store.read([sha(n) for n in range(30)], SPEC), views(*range(30)))


def test_a_sound_store_is_whole(store: FeatureStore) -> None:
    verdict = verify(store.path)
    assert verdict == Verdict(store.path, COUNT + 30, (), True, "", ())
    assert verdict.ok
    assert describe(verdict) == f"{store.path}: whole, 70 rows"


def test_a_flipped_byte_of_a_row_names_it_and_costs_it_alone(store: FeatureStore) -> None:
    flip(store.path, offset_of(store.path, rows(17).astype(np.float16).tobytes()) + 3, 0x04)
    verdict = verify(store.path)
    assert [(d.spec, d.row, d.sha256, d.names) for d in verdict.damaged] == [("", 17, sha(17), ("train/a/17.png",))]
    assert "row 17" in describe(verdict) and "train/a/17.png" in describe(verdict)
    with pytest.raises(StoreError, match="cache verify --repair"):
        store.read([sha(17)])
    assert repair(verdict)
    assert verify(store.path).ok
    assert set(store.rows()) == {sha(n) for n in range(COUNT) if n != 17}
    # The views of a lost row have nothing to point at.
    assert fill_again(store) == 2
    check_complete(store)
    assert store.profiles() == {"key": {"latency": 1.5}}


def test_a_flipped_byte_of_a_view_costs_that_images_views(store: FeatureStore) -> None:
    flip(store.path, offset_of(store.path, views(5).astype(np.float16).tobytes()))
    verdict = verify(store.path)
    assert [(d.spec, d.sha256) for d in verdict.damaged] == [(SPEC, sha(5))]
    repair(verdict)
    assert len(store.rows()) == COUNT
    assert fill_again(store) == 1
    check_complete(store)


def test_a_flipped_byte_of_a_hash_costs_its_row(store: FeatureStore) -> None:
    with h5py.File(store.path) as file:
        start = file["sha256"].id.get_chunk_info(0).byte_offset
    flip(store.path, start + file_userblock(store.path) + 32 * 3 + 7)
    verdict = verify(store.path)
    assert {d.row for d in verdict.damaged if not d.spec} == {3}
    repair(verdict)
    assert fill_again(store) == 2
    check_complete(store)


def file_userblock(path: Path) -> int:
    """What chunk offsets count from; HDF5 versions differ in whether it is included."""
    with h5py.File(path) as file:
        start = file["sha256"].id.get_chunk_info(0).byte_offset
    first = path.read_bytes().index(bytes.fromhex(sha(0) + sha(1)))
    return first - start


def test_a_flipped_byte_of_a_label_or_a_name_loses_no_row(store: FeatureStore) -> None:
    flip(store.path, offset_of(store.path, b"train/a/7.png") + 8)
    verdict = verify(store.path)
    assert not verdict.ok and not verdict.damaged
    assert "no row" in describe(verdict) or "rows are whole" in describe(verdict)
    repair(verdict)
    assert verify(store.path).ok
    check_complete(store)


def test_a_flipped_measurement_is_dropped_and_the_rows_stay(store: FeatureStore) -> None:
    flip(store.path, offset_of(store.path, b'{"key": {"latency": 1.5}}') + 20, 0x01)
    repair(verify(store.path))
    assert store.profiles() == {}
    check_complete(store)


def random_offsets(path: Path, count: int) -> list[int]:
    return random.Random(count).sample(range(path.stat().st_size), count)


def check_flip(store: FeatureStore, sound: bytes, offset: int) -> None:
    store.path.write_bytes(sound)
    flip(store.path, offset)
    verdict = verify(store.path)
    assert not verdict.ok, offset
    assert repair(verdict)
    if store.path.exists():
        assert verify(store.path).ok, offset
        kept = [n for n in range(COUNT) if sha(n) in store.rows()]
        assert np.array_equal(store.read([sha(n) for n in kept]), rows(*kept))
        if not verdict.unreadable:
            assert len(kept) >= COUNT - len(verdict.damaged)
    fill_again(store)
    check_complete(store)


def test_a_byte_flipped_anywhere_is_found_and_repaired(store: FeatureStore) -> None:
    sound = store.path.read_bytes()
    for offset in [0, 511, 512, 520, *random_offsets(store.path, 12)]:
        check_flip(store, sound, offset)


@pytest.mark.slow
def test_bytes_flipped_at_hundreds_of_places(store: FeatureStore) -> None:
    sound = store.path.read_bytes()
    structure = [i for i in range(len(sound)) if sound[i]]  # most of a small file is unused space
    for offset in random.Random(0).sample(structure, 600):
        check_flip(store, sound, offset)


def test_a_file_that_is_no_store_is_removed_by_repair(store: FeatureStore) -> None:
    store.path.write_bytes(b"nothing of the kind")
    verdict = verify(store.path)
    assert verdict.unreadable and "DAMAGED" in describe(verdict)
    repair(verdict)
    assert not store.path.exists()


def test_what_is_another_store_is_left_alone(store: FeatureStore, tmp_path: Path) -> None:
    other = FeatureStore(tmp_path, info(weights="other"))
    store.path.rename(other.path)
    verdict = verify(other.path)
    assert verdict.foreign and verdict.ok and "under another name" in describe(verdict)
    assert not repair(verdict) and other.path.exists()


def test_a_store_of_another_format_is_left_alone(store: FeatureStore) -> None:
    with h5py.File(store.path, "r+") as file:
        file.attrs["format_version"] = 99
    seal(store.path)
    verdict = verify(store.path)
    assert verdict.foreign and "format 99" in describe(verdict)
    assert not repair(verdict) and store.path.exists()


@pytest.mark.parametrize("attribute", ["identity", "origin", "provenance", "attributes_crc32", "profile"])
def test_a_damaged_attribute_costs_no_row(store: FeatureStore, attribute: str) -> None:
    with h5py.File(store.path) as file:
        text = file.attrs[attribute].encode()
    for place in (0, 3, len(text) // 2, len(text) - 1):
        data = store.path.read_bytes()
        broken = bytearray(text)
        broken[min(place, len(text) - 1)] ^= 0x11
        store.path.write_bytes(data.replace(text, bytes(broken)))  # HDF5 leaves earlier spellings of it in the file
        verdict = verify(store.path)
        assert not verdict.ok and not verdict.unreadable and not verdict.damaged
        assert repair(verdict)
        assert verify(store.path).ok
        check_complete(store)
        with store.writing() as writer:  # as the next command would
            writer.profiles["key"] = {"latency": 1.5}
        with h5py.File(store.path) as file:
            assert json.loads(file.attrs["identity"]) == info().identity.as_dict()
            text = file.attrs[attribute].encode()


def test_a_store_that_lost_every_row_is_begun_anew(store: FeatureStore) -> None:
    with h5py.File(store.path) as file:
        place = file["crc32"].id.get_chunk_info(0).byte_offset + file_userblock(store.path)
    data = bytearray(store.path.read_bytes())
    for i in range(4 * COUNT):
        data[place + i] ^= 0x55
    store.path.write_bytes(bytes(data))
    verdict = verify(store.path)
    assert len([d for d in verdict.damaged if not d.spec]) == COUNT
    assert repair(verdict) and not store.path.exists()
    assert fill_again(store) == COUNT + 30
    check_complete(store)


def test_a_torn_part_is_found_and_removed(store: FeatureStore) -> None:
    store.parts.write("", [sha(77)], rows(77).astype(np.float16))
    (part,) = store.parts.files()
    part.write_bytes(part.read_bytes()[:-30])
    verdict = verify(store.path)
    assert verdict.torn_parts == (part,) and verdict.whole
    repair(verdict)
    assert verify(store.path).ok and not part.exists()


def test_a_stranger_among_the_parts_is_passed_over(store: FeatureStore) -> None:
    store.parts.write("", [sha(77)], rows(77).astype(np.float16))
    (store.parts.folder / "x.npz").write_bytes(b"hi")
    assert [p.name for p in verify(store.path).torn_parts] == ["x.npz"]
    with store.writing():
        pass
    assert sha(77) in store.rows()


def test_rows_that_are_not_folded_in_are_counted(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, info())
    store.parts.write("", [sha(1), sha(2)], rows(1, 2).astype(np.float16))
    assert describe(verify(store.path)) == f"{store.path}: not folded in yet, 2 committed rows"


def test_a_store_in_use_is_not_repaired(store: FeatureStore) -> None:
    flip(store.path, offset_of(store.path, rows(17).astype(np.float16).tobytes()))
    before = store.path.read_bytes()
    store.hold()
    assert not repair(verify(store.path))
    assert store.path.read_bytes() == before


def test_rows_wider_than_a_chunk_are_told_apart(tmp_path: Path) -> None:
    """vgg16's rows of 25,088 features: about twenty in a chunk, several chunks."""
    from dataclasses import replace

    wide = FeatureStore(tmp_path, replace(info("float32"), features=25_088))
    values = np.random.default_rng(0).normal(size=(50, 25_088)).astype(np.float32)
    with wide.writing() as writer:
        writer.append([sha(n) for n in range(50)], values)
    flip(wide.path, wide.path.read_bytes().index(values[33].tobytes()) + 50_000, 0x10)
    assert [d.row for d in verify(wide.path).damaged] == [33]
    assert FEATURES != 25_088
