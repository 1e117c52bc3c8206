"""CKA of the stores that runs name: the same as of their features, remembered, and honest about what is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache.places import FilePlace
from featcache.records import BackboneInfo, Identity, ImageRecord, Manifest, Preprocessing, WeightsOrigin
from featcache.separability import linear_cka
from featcache.store import FeatureStore
from heads.redundancy import feature_alignment
from heads.redundancy.feature_alignment import Alignment, align
from heads.runs import Run

IMAGES = 40


def manifest() -> Manifest:
    images = [
        ImageRecord(
            FilePlace(f"{i}.png"), f"{i}.png", f"{i * 7919 % 1000:064x}", i % 2, "val" if i % 4 == 3 else "train"
        )
        for i in range(IMAGES)
    ]
    copy = ImageRecord(FilePlace.at("copy.png"), "copy.png", images[0].sha256, 0, "train")
    return Manifest("made", Path(), ("a", "b"), (*images, copy))


def save(cache: Path, name: str, features: np.ndarray) -> Run:
    data = manifest()
    identity = Identity(name, "custom", name, Preprocessing(8, 8), "input of fc", "float32", "float32")
    store = FeatureStore(cache, BackboneInfo(identity, features.shape[1], 1, WeightsOrigin("random", "random(0)")))
    with store.writing() as writer:
        writer.append([image.sha256 for image in data.images[:IMAGES]], features.astype(np.float32))
    store.save_dataset(data)
    summary = {"stores": [store.path.name], "data": {"fingerprint": data.fingerprint}, "cache_dir": str(cache)}
    return Run(cache.parent / "results" / name, summary, {})


def features(seed: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(IMAGES, width))


def train_rows(x: np.ndarray) -> np.ndarray:
    return x[[i for i in range(IMAGES) if i % 4 != 3]].astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_it_is_cka_of_the_training_images_whatever_is_held_at_once(cache, monkeypatch):
    monkeypatch.setattr(feature_alignment, "HELD", 2)
    x = [features(0), features(0) @ features(9)[:6] + 2, features(1, 90), features(2), features(0, 6) * 1e3]
    found = align([save(cache, f"network{k}", one) for k, one in enumerate(x)])
    assert found is not None and found.images == 30
    for i, one in enumerate(x):
        for j, other in enumerate(x):
            expected = 1 if i == j else linear_cka(train_rows(one), train_rows(other))
            assert found.of(f"network{i}", f"network{j}") == pytest.approx(expected, abs=1e-5)
    assert found.redundant() == [("network0", "network4")]
    assert found.of("network0", "another") is None


def test_alike_ones_stand_together(cache):
    x = [features(0), features(1), features(0) + 0.1 * features(2), features(1) + 0.1 * features(3)]
    order = align([save(cache, f"network{k}", one) for k, one in enumerate(x)]).order()
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


def test_what_was_compared_is_not_read_again(cache, monkeypatch):
    runs = [save(cache, f"network{k}", features(k)) for k in range(3)]
    first = align(runs)
    read: list[Path] = []
    real = FeatureStore.read
    monkeypatch.setattr(FeatureStore, "read", lambda self, *a: read.append(self.path) or real(self, *a))
    assert np.array_equal(align(runs).cka, first.cka)
    assert read == []
    again = align([*runs, save(cache, "network3", features(3))])
    assert again.cka[:3, :3] == pytest.approx(first.cka)
    assert len(read) == 4
    (cache / "alignment").glob("*.json").__next__().write_text("{broken")
    assert np.array_equal(align(runs).cka, first.cka)


def test_a_store_that_is_gone_or_tells_nothing_apart_leaves_the_others(cache):
    runs = [save(cache, f"network{k}", features(k)) for k in range(3)]
    flat = save(cache, "flat", np.ones((IMAGES, 4)))
    align(runs)
    (cache / runs[0].summary["stores"][0]).unlink()
    later = save(cache, "later", features(7))
    found = align([*runs, flat, later])
    assert {"network1", "network2"} < set(found.runs) and len(found.runs) == 3  # network0 and later cannot both stand
    back = align([save(cache, "network0", features(0)), *runs[1:], flat, later])
    assert set(back.runs) == {"network0", "network1", "network2", "later"}  # the loss was not remembered
    assert align(runs[:1]) is None
    assert align([]) is None


def test_a_redundant_group_is_one_where_each_two_are_alike():
    """0 and 2 are both like 1, but not like each other."""
    cka = np.array([[1, 0.93, 0.7], [0.93, 1, 0.91], [0.7, 0.91, 1]])
    assert Alignment(("a", "b", "c"), cka, 9).redundant() == [("a", "b")]
    assert Alignment(("a",), np.ones((1, 1)), 9).redundant() == []
