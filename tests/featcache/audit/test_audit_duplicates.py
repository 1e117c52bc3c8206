"""Copies: exact ones by hash, near ones by several backbones, and what leaks from one split into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featcache.audit import Audit, audit, clean_list, exact_leaks
from featcache.audit.cosine_neighbours import between, directions, nearest
from featcache.audit.near_groups import KNOWN, Seen, near_copies
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest, Split

Rows = NDArray[np.float32]


def manifest(rows: Sequence[tuple[str, Split, int, str]], classes: int = 2) -> Manifest:
    """Images as (name, split, label, content)."""
    images = tuple(ImageRecord(FilePlace.at(n), n, content, label, split) for n, split, label, content in rows)
    return Manifest("made", Path("/made"), tuple("abcdefgh"[:classes]), images)


def pooled(count: int, width: int = 64, seed: int = 0) -> Rows:
    """Features as pooled ReLUs have them: positive, with a large common part, so that every cosine is near 1."""
    rng = np.random.default_rng(seed)
    return (20 + np.abs(rng.normal(size=(count, width)))).astype(np.float32)


def unique(count: int) -> list[tuple[str, Split, int, str]]:
    splits: tuple[Split, ...] = ("train", "train", "train", "val", "test")
    return [(f"{i:03d}.png", splits[i % 5], i // 5 % 2, f"{i:064x}") for i in range(count)]


def test_exact_groups_and_their_flags() -> None:
    rows: list[tuple[str, Split, int, str]] = [
        ("train/1", "train", 0, "x"),
        ("test/1", "test", 0, "x"),
        ("train/2", "train", 0, "y"),
        ("train/3", "train", 1, "y"),
        ("train/4", "train", 1, "z"),
        ("val/4", "val", 1, "w"),
    ]
    found = audit(manifest(rows), {})
    seen = {g.sha256: ([i.name for i in g.images], g.across_splits, g.conflicting_labels) for g in found.exact}
    assert seen == {"x": (["train/1", "test/1"], True, False), "y": (["train/2", "train/3"], False, True)}
    assert [g.sha256 for g in found.exact] == ["x", "y"]  # leaks first
    assert (found.leaked.val, found.leaked.test) == ((), ("test/1",))


contents = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test"]), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=30
)


@given(contents)
def test_exact_leaks_are_what_a_plain_search_finds(drawn: list[tuple[Split, int, int]]) -> None:
    made = manifest([(f"{i}", split, label, str(c)) for i, (split, label, c) in enumerate(drawn)])
    before = {"val": {"train"}, "test": {"train", "val"}}
    expected = {
        s: {i.name for i in made.of(s) if any(o.sha256 == i.sha256 and o.split in before[s] for o in made.images)}
        for s in ("val", "test")
    }
    assert exact_leaks(made) == expected


@given(contents)
def test_a_clean_list_leaves_no_copy_and_no_more_than_it_must(drawn: list[tuple[Split, int, int]]) -> None:
    made = manifest([(f"{i}", split, label, str(c)) for i, (split, label, c) in enumerate(drawn)])
    gone = {e.name for e in clean_list(audit(made, {}))}
    left = Manifest(made.name, made.root, made.classes, tuple(i for i in made.images if i.name not in gone))
    assert not audit(left, {}).exact
    for content in {i.sha256 for i in made.images}:
        copies = [i for i in made.images if i.sha256 == content]
        kept = [i for i in left.images if i.sha256 == content]
        if len({i.label for i in copies}) > 1:
            assert not kept
        else:
            last = max(copies, key=lambda i: ("train", "val", "test").index(i.split)).split
            assert [i.name for i in kept] == [min(i.name for i in copies if i.split == last)]


def test_neighbours_are_those_of_a_plain_computation() -> None:
    x = pooled(300, 40)
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    distance = 1 - unit @ unit.T
    np.fill_diagonal(distance, np.inf)
    rows = directions(x)
    found = nearest(rows, 7)
    expected = np.sort(distance, axis=1)[:, :7]
    np.testing.assert_allclose(found.distance, expected, rtol=1e-3)
    np.testing.assert_allclose(distance[np.arange(300)[:, None], found.index], expected, rtol=1e-3)
    np.testing.assert_allclose(between(rows, found.index[:, 0], np.arange(300)), expected[:, 0], rtol=1e-3)


def copied(x: Rows, places: Sequence[int], noise: float, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    copies = x[list(places)] + noise * rng.normal(size=(len(places), x.shape[1]))
    return np.concatenate([x, copies.astype(np.float32)])


def test_near_copies_are_found_where_every_cosine_is_near_one() -> None:
    places = range(0, 40, 2)
    made = manifest(unique(220))
    features = {f"net{s}": copied(pooled(200, seed=s), places, 0.05, s) for s in range(2)}
    found = audit(made, features)
    pairs = {tuple(sorted(i.name for i in g.images)) for g in found.near}
    assert pairs == {(f"{place:03d}.png", f"{200 + k:03d}.png") for k, place in enumerate(places)}
    assert all(0.99 < c <= 1 for g in found.near for c in g.cosine.values())
    assert set(found.near[0].cosine) == set(features)


def test_one_backbone_that_disagrees_is_enough() -> None:
    made = manifest(unique(201))
    agreeing = {f"net{s}": copied(pooled(200, seed=s), [7], 0.02, s) for s in range(2)}
    assert len(audit(made, agreeing).near) == 1
    assert not audit(made, {**agreeing, "other": pooled(201, seed=9)}).near


def test_many_copies_of_one_image_are_one_group() -> None:
    made = manifest(unique(225))
    features = {f"net{s}": copied(pooled(200, seed=s), [3] * 25, 0.01, s) for s in range(2)}
    (group,) = audit(made, features).near
    assert len(group.images) == 26  # more than the neighbours that set an image's unit


def test_exact_copies_alone_are_no_near_group_and_stand_in_one_beside() -> None:
    rows = unique(201)
    rows += [("test/same.png", "test", rows[7][2], rows[7][3]), ("test/twin.png", "test", 0, rows[10][3])]
    features = {}
    for s in range(2):
        x = copied(pooled(200, seed=s), [7], 0.02, s)
        features[f"net{s}"] = np.concatenate([x, x[[7, 10]]])
    found = audit(manifest(rows), features)
    assert len(found.exact) == 2
    (group,) = found.near
    assert {i.name for i in group.images} == {"007.png", "200.png", "test/same.png"}
    assert found.leaked.test == ("test/same.png", "test/twin.png")


def test_with_too_few_images_distances_say_nothing() -> None:
    found = audit(manifest(unique(20)), {"net": pooled(20)})
    assert not found.near
    assert not found.outliers
    assert any("too few different images" in w for w in found.warnings)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 1.2), st.integers(1, 60))
def test_what_a_clean_list_leaves_has_no_leak(seed: int, noise: float, copies: int) -> None:
    """Copies of any likeness, so that some are just beyond what counts: taking others out must not bring them in."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 120, copies).tolist()
    made = manifest(unique(120 + copies))
    features = {f"net{s}": copied(pooled(120, seed=seed + s), places, noise, seed + s) for s in range(2)}
    gone = {e.name for e in clean_list(audit(made, features))}
    left = np.array([i.name not in gone for i in made.images])
    kept = tuple(i for i in made.images if i.name not in gone)
    second = audit(Manifest(made.name, made.root, made.classes, kept), {n: f[left] for n, f in features.items()})
    assert not second.exact
    assert second.leaked.val == second.leaked.test == ()


def test_numbers_join_what_is_linked_by_way_of_others() -> None:
    x = pooled(100)
    chain = np.concatenate([x, x[[0]] + 0.01, x[[0]] + 0.02]).astype(np.float32)
    rows = directions(chain)
    numbers = near_copies({"net": Seen(rows, nearest(rows, KNOWN))}, lambda n: np.ones(len(n), dtype=np.bool_))
    assert numbers[0] == numbers[100] == numbers[101]
    assert len(set(numbers.tolist())) == 100


def test_folds_of_train_and_val_part_near_copies_alone() -> None:
    """000 and 200 are near copies in train, 003 (val) and 201 (train) too; 202 is the very file of 008 (val)."""
    rows = [
        *unique(200),
        ("200.png", "train", 0, "c0"),
        ("201.png", "train", 0, "c1"),
        ("202.png", "train", 1, f"{8:064x}"),
    ]
    features = {}
    for s in range(2):
        x = copied(pooled(200, seed=s), [0, 3], 0.02, s)
        features[f"net{s}"] = np.concatenate([x, x[[8]]])
    plain = audit(manifest(rows), features)
    assert any(line.startswith("2 val images of 40 (5.0%) have a copy in train") for line in plain.warnings)
    folded = audit(manifest(rows), features, folds=True)
    assert not any("copy in train" in line for line in folded.warnings)
    assert folded.warnings[0].startswith(
        "4 images of 163 in train and val (2.5%) have a near copy that folds may part from it, such as 000.png"
    )
    assert Audit.from_dict(folded.as_dict()) == folded
    together = [replace(i, group="g" if i.name in ("000.png", "200.png") else None) for i in manifest(rows).images]
    grouped = audit(replace(manifest(rows), images=tuple(together)), features, folds=True)
    assert grouped.warnings[0].startswith("2 images of 163 in train and val (1.2%) have a near copy")
