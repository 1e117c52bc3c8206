"""Folders laid out as people have them: what is not where it should be is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_makers import contents, load, make_csv, make_zip

from featcache.errors import DataError


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(DataError) as refused:
        load(path, path.parent / "cache", **options)
    return str(refused.value)


@pytest.mark.parametrize("before", ["", "train/"])
def test_images_beside_one_class_folder_are_named(tmp_path: Path, before: str) -> None:
    root = fill(tmp_path / "d", *(f"{before}{name}" for name in ("cat/0.png", "1.png", "2.png", "notes.txt")))
    said = refusal(root)
    assert f"one class only ('cat'); 2 images are in no class folder, such as {before}1.png. Classification" in said


def test_a_test_folder_without_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", *(f"train/{c}/{n}.png" for c in "ab" for n in range(9)), "test/0.png")
    said = refusal(root)
    assert f"{root / 'test'}: no class folders there; 1 image is in no class folder, such as test/0.png" in said
    assert "move the test folder elsewhere, so that test is cut from train" in said


def test_a_table_beside_folders_without_classes_is_pointed_at(tmp_path: Path) -> None:
    """As competitions lay data out."""
    root = fill(tmp_path / "d", "train/1.png", "test/2.png", "sample_submission.csv", "train.csv")
    assert f"If 'train.csv' says which image is what, name it: data.path={root / 'train.csv'}" in refusal(root)


def test_a_table_beside_class_folders_is_said(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", *(f"{c}/{n}.png" for c in ("images", "masks") for n in range(9)))
    make_csv(root / "labels.csv", ["path", "label"], [])
    said = "1 file ignored beside the class folders, such as labels.csv. If 'labels.csv' says which image is what, name"
    assert any(said in notice for notice in load(root, tmp_path / "cache").notices)

    make_csv(root / "labels.csv", ["path", "group"], [["images/0.png", "g"]])  # of data.groups, say
    assert not any("If 'labels.csv'" in notice for notice in load(root, tmp_path / "cache").notices)


def test_archives_where_folders_should_be_are_pointed_at(tmp_path: Path) -> None:
    root = tmp_path / "d"
    root.mkdir()
    inner = make_zip(root / "train.zip", [("a/0.png", b"0"), ("b/1.png", b"1")])
    assert f"'train.zip' is an archive, which is read in place: data.path={inner}." in refusal(root)
    outer = make_zip(tmp_path / "outer.zip", [("train.zip", inner.read_bytes())])
    assert "'train.zip' is an archive within it, which is not read: take it out, and name that." in refusal(outer)


@pytest.mark.parametrize("zipped", [False, True])
def test_splits_within_class_folders(tmp_path: Path, zipped: bool) -> None:
    names = [f"{c}/{s}/{n}.png" for c in ("cat", "dog") for s in ("Train", "valid", "test") for n in range(3)]
    root = fill(tmp_path / "d", *names)
    path = make_zip(tmp_path / "z.zip", [(name, name.encode()) for name in names]) if zipped else root
    manifest = load(path, tmp_path / "cache")
    words = {"Train": "train", "valid": "val", "test": "test"}
    found = {(name, label, split) for name, _, label, split in contents(manifest)}
    assert found == {(n, n.split("/")[0], words[n.split("/")[1]]) for n in names}
    assert manifest.notices == ("the splits are the folders within the class folders, such as cat/Train",)
    (root / "cat" / "more.png").write_bytes(b"in no split")
    assert "cut from train" in load(root, tmp_path / "cache").notices[0]


def test_options_of_tables_are_refused_without_one(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", *(f"{c}/{n}.png" for c in "ab" for n in range(9)))
    assert "data.columns: has no use where" in refusal(root, columns={"label": "species"})
    assert "data.root: has no use where" in refusal(root, root=str(root))
    table = make_csv(root / "t.csv", ["path", "label"], [[f"{c}/{n}.png", c] for c in "ab" for n in range(9)])
    assert len(load(table, tmp_path / "cache", root=str(root), columns={"label": "label"}).images) == 18
