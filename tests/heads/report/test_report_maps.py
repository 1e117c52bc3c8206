"""Feature maps in two dimensions: what they show, the same every time, made once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils._openmp_helpers import _openmp_effective_n_threads
from threadpoolctl import threadpool_info, threadpool_limits

from featcache.places import FilePlace
from featcache.records import BackboneInfo, Identity, ImageRecord, Manifest, Preprocessing, WeightsOrigin
from featcache.store import FeatureStore
from heads.report import feature_maps_2d
from heads.report.feature_maps_2d import POINTS, choose_images, feature_map, feature_maps, make_map


def images(count: int, classes: int = 3) -> list[ImageRecord]:
    return [ImageRecord(FilePlace.at(f"/x/{i}"), f"train/{i}", f"{i:064x}", i % classes, "train") for i in range(count)]


def clusters(count: int, width: int = 20, classes: int = 3) -> np.ndarray:
    rng = np.random.default_rng(2)
    centres = rng.normal(0, 6, (classes, width))
    return centres[np.arange(count) % classes] + rng.normal(0, 1, (count, width))


def fill(folder: Path, features: np.ndarray, name: str = "net") -> Path:
    identity = Identity(name, "custom", "w", Preprocessing(32, 36), "input of fc", "float32", "float32")
    store = FeatureStore(folder, BackboneInfo(identity, features.shape[1], 1, WeightsOrigin("random", "random(0)")))
    with store.writing() as writer:
        writer.append([f"{i:064x}" for i in range(len(features))], features.astype(np.float32))
    return store.path


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_what_is_apart_stays_apart(projection: str) -> None:
    points = np.array(getattr(make_map(clusters(60)), projection))
    assert points.shape == (60, 2) and points.min() == 0 and points.max() == 1000
    labels = np.arange(60) % 3
    assert KNeighborsClassifier(1).fit(points[:30], labels[:30]).score(points[30:], labels[30:]) == 1


def test_the_same_features_give_the_same_map() -> None:
    assert make_map(clusters(40)) == make_map(clusters(40))


def test_maps_of_several_stores_come_in_order_each_made_on_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two threads that spin, a map took 34 s of processor time on a busy machine, and 1 s with one."""
    seen: list[set[int]] = []

    def watched(features: np.ndarray) -> feature_maps_2d.FeatureMap:
        seen.append({_openmp_effective_n_threads(), *blas()})
        return make_map(features)

    def blas() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    monkeypatch.setattr(feature_maps_2d, "make_map", watched)
    every = [clusters(20, width) for width in (5, 8, 13)]
    stores = [fill(tmp_path / "stores", one, f"net {number}") for number, one in enumerate(every)]
    wanted = [([store], tmp_path / "cache") for store in (*stores, tmp_path / "gone.h5")]
    with threadpool_limits(2):
        given = blas()  # a BLAS that was loaded with one thread (OMP_NUM_THREADS=1) may have no second one to give
        found = list(feature_maps(wanted, images(20)))
        assert _openmp_effective_n_threads() == 2
        assert blas() == given
    assert found == [*(make_map(one.astype(np.float32).astype(np.float64)) for one in every), None]
    assert seen == [{1}] * 3


def test_pca_is_the_plane_of_the_largest_variance() -> None:
    """Points on a line: the second axis is empty, the first holds everything, and distances keep their ratios."""
    line = np.outer([0.0, 1, 2, 6, 10], np.ones(4))
    found = make_map(line)
    assert found.explained == pytest.approx(1)
    along = np.array(found.pca)
    assert sorted(np.abs(along[:, 0] - along[0, 0]).tolist()) == [0, 100, 200, 600, 1000]
    assert set(along[:, 1].tolist()) == {500}  # in the middle


@pytest.mark.parametrize("features", [np.zeros((6, 5)), np.full((6, 1), 3.7), np.ones((4, 80)) * 1e-30])
def test_features_that_say_nothing_are_one_point(features: np.ndarray) -> None:
    found = make_map(features)
    assert {tuple(p) for p in found.pca} == {tuple(p) for p in found.tsne} == {(500, 500)}
    assert found.explained == 0


@pytest.mark.parametrize(("count", "width"), [(4, 1), (4, 3), (5, 2), (7, 500), (30, 1)])
def test_few_images_and_few_features(count: int, width: int) -> None:
    found = make_map(np.random.default_rng(0).normal(size=(count, width)))
    assert len(found.pca) == len(found.tsne) == count
    assert 0 < found.explained <= 1 + 1e-9


def test_huge_features() -> None:
    found = make_map(clusters(20) * 1e30)
    assert np.array(found.tsne).max() == 1000 and len({tuple(p) for p in found.tsne}) > 10


def test_a_map_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path, clusters(30))
    first = feature_map([store], images(30), tmp_path)
    assert first is not None
    monkeypatch.setattr(feature_maps_2d, "make_map", lambda features: pytest.fail("made again"))
    assert feature_map([store], images(30), tmp_path) == first


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"pca": [], "tsne": [], "explained": 0}', '{"pca": [[1, 2]]}'])
def test_a_damaged_memo_is_made_anew(tmp_path: Path, damage: str) -> None:
    store = fill(tmp_path, clusters(30))
    first = feature_map([store], images(30), tmp_path)
    (memo,) = (tmp_path / "maps").glob("*.json")
    memo.write_text(damage)
    assert feature_map([store], images(30), tmp_path) == first
    assert json.loads(memo.read_text())["pca"]


def test_a_map_that_cannot_be_kept_is_made_all_the_same(tmp_path: Path) -> None:
    store = fill(tmp_path, clusters(30))
    (tmp_path / "maps").write_text("no folder")
    assert feature_map([store], images(30), tmp_path) is not None


def test_other_images_or_stores_are_other_maps(tmp_path: Path) -> None:
    store, other = fill(tmp_path, clusters(30)), fill(tmp_path, clusters(30)[::-1], "other")
    first = feature_map([store], images(30), tmp_path)
    assert feature_map([store], images(29), tmp_path) != first
    assert feature_map([other], images(30), tmp_path) != first
    joined = feature_map([store, other], images(30), tmp_path)
    assert joined == make_map(
        np.concatenate([clusters(30), clusters(30)[::-1]], axis=1).astype(np.float32).astype(float)
    )


def test_no_map_of_three_images(tmp_path: Path) -> None:
    assert feature_map([fill(tmp_path, clusters(3))], images(3), tmp_path) is None


@pytest.mark.parametrize("damage", ["gone", "rows", "text"])
def test_no_map_without_a_whole_store(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = fill(tmp_path, clusters(20))
    if damage == "gone":
        store.unlink()
    if damage == "text":
        store.write_text("no store")
    assert feature_map([store], images(30), tmp_path) is None
    assert store.name in caplog.text


def test_a_few_of_many_images_in_the_classes_shares() -> None:
    many = [
        ImageRecord(FilePlace.at("x"), f"{i}", f"{i * 7919 % 100003:064x}", int(i % 10 == 0), "train")
        for i in range(3000)
    ]
    manifest = Manifest("m", Path("x"), ("a", "b"), tuple(many))
    chosen = choose_images(manifest)
    assert len(chosen) == POINTS and sum(i.label for i in chosen) == POINTS // 10
    more = Manifest("m", Path("x"), ("a", "b"), (*many, *(ImageRecord(FilePlace.at("y"), "y", "f" * 64, 0, "val"),)))
    assert {i.sha256 for i in choose_images(more)} == {i.sha256 for i in chosen}


def test_copies_are_one_point_and_no_class_is_forgotten() -> None:
    copies = [ImageRecord(FilePlace.at("x"), f"{i}", f"{i // 2:064x}", 0, "train") for i in range(20)]
    assert len(choose_images(Manifest("m", Path("x"), ("a",), tuple(copies)))) == 10
    rare = [ImageRecord(FilePlace.at("x"), f"{i}", f"{i:064x}", int(i == 7), "train") for i in range(5000)]
    assert sum(i.label for i in choose_images(Manifest("m", Path("x"), ("a", "b"), tuple(rare)))) == 1


def test_hundreds_of_classes_are_still_no_more_than_a_map_can_show() -> None:
    many = [ImageRecord(FilePlace.at("x"), f"{i}", f"{i:064x}", i % 1000, "train") for i in range(5000)]
    names = tuple(f"{i:04d}" for i in range(1000))
    assert len(choose_images(Manifest("m", Path("x"), names, tuple(many)))) <= 2.5 * POINTS
