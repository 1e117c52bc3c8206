"""Classes as people spell and split them: what is one class, what is asked about, what is left out and said."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from source_makers import make_csv, make_zip

from featcache.data import load_manifest, locate
from featcache.errors import DataError, OptionsError
from featcache.options import DataOptions, parse_options
from featcache.records import Manifest

Tree = dict[str, int]
SPLIT: Tree = {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in ("rain", "snow", "sun")}


def fill(root: Path, tree: Tree) -> Path:
    """`tree[folder]` files in each folder, each with a content of its own."""
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / folder / f"{i:03d}.png").write_bytes(f"{folder} {i}".encode())
    return root


def load(path: Path, **options: Any) -> Manifest:
    document = {
        "experiment_name": "x",
        "model": {"backbone": "x"},
        "data": {"path": str(path), "workers": 2, **options},
    }
    return load_manifest(parse_options(document).data, path.parent / "cache")[0]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        load(path, **options)
    return str(refused.value)


def counts(manifest: Manifest, split: str) -> dict[str, int]:
    return dict(Counter(manifest.classes[i.label] for i in manifest.images if i.split == split))


def test_an_empty_class_folder_is_left_out_and_said_once(tmp_path: Path) -> None:
    manifest = load(fill(tmp_path / "d", {**SPLIT, "train/fog": 0, "val/fog": 0}))
    assert manifest.classes == ("rain", "snow", "sun")
    assert manifest.notices == ("the class 'fog' has no image in any split and is left out",)


def test_a_lone_nested_folder_is_gone_into_and_said(tmp_path: Path) -> None:
    plain = load(fill(tmp_path / "plain", SPLIT))
    fill(tmp_path / "outer" / "inner" / "plain", SPLIT)
    manifest = load(tmp_path / "outer")
    assert manifest.notices == ("the images are looked for in its folder inner/plain",)
    assert manifest.fingerprint == plain.fingerprint
    found = locate(manifest, DataOptions(path=str(tmp_path / "outer")), tmp_path / "cache")
    assert all(i.place.read() for i in found.images)
    assert load(fill(tmp_path / "bare" / "bare", {"a": 9, "b": 9})).classes == ("a", "b")


def test_what_may_be_a_class_is_not_gone_into(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"cat": 3, "cat/P1": 2, "cat/P2": 2})
    assert "one class only ('cat')" in refusal(root)
    listed = fill(tmp_path / "e", {"images/P1": 2, "images/P2": 2})
    rows = [[f"images/P{p}/00{n}.png", "ab"[n]] for p in (1, 2) for n in range(2)]
    make_csv(listed / "labels.csv", ["path", "label"], rows)
    message = refusal(listed)
    assert "one class only ('images')" in message
    assert f"data.path={listed / 'labels.csv'}" in message


def test_blanks_around_a_folders_name_are_no_part_of_it(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {" lead class ": 20, "dog": 20, "fog": 0})
    manifest = load(root)
    assert manifest.classes == ("dog", "lead class")
    for asked in ("lead class", " lead class "):
        picked = load(root, classes=[asked, "dog"])
        assert set(picked.classes) == {"dog", asked} and len(picked.images) == 40
    assert "' dog' (5 in train) and 'dog' (20 in train)" in refusal(fill(root, {" dog": 5}))
    merged = load(root, classes={"dog": [" dog", "dog"], "lead": ["lead class"]})
    assert counts(merged, "train")["dog"] > counts(merged, "train")["lead"]


def test_a_class_that_is_picked_and_has_a_folder_and_no_image_is_told_so(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"rain": 9, "sun": 9, "fog": 0, " mist ": 0})
    said = refusal(root, classes=["rain", "sun", "fog", "mist"])
    assert "there is a folder for 'fog', 'mist', and no image in it" in said
    assert "no class is called 'hail'" in refusal(root, classes=["rain", "sun", "hail"])


@pytest.mark.parametrize("inner", ["data", "x/y/data"])
def test_a_lone_folder_of_splits_is_gone_into_whatever_table_is_beside_it(tmp_path: Path, inner: str) -> None:
    root = fill(tmp_path / "d", {f"{inner}/{folder}": n for folder, n in SPLIT.items()})
    (root / "sample_submission.csv").write_text("id,label\n")
    (root / inner).with_name("labels.csv").write_text("path,label\n")
    manifest = load(root)
    assert manifest.classes == ("rain", "snow", "sun") and len(manifest.images) == 18
    assert manifest.notices == (f"the images are looked for in its folder {inner}",)


def test_a_table_within_an_archive_is_to_be_taken_out(tmp_path: Path) -> None:
    images = [(f"images/{n}.png", b"%d" % n) for n in range(40)]
    file = make_zip(tmp_path / "k.zip", [*images, ("k.csv", b"path,label")])
    said = refusal(file)
    assert f"take that table out of the archive, and name both: data.path=k.csv, data.root={file}." in said
    rows = [[f"images/{n}.png", "ab"[n % 2]] for n in range(40)]
    make_csv(tmp_path / "k.csv", ["path", "label"], rows)
    assert load(tmp_path / "k.csv", root=str(file)).classes == ("a", "b")


@pytest.mark.parametrize("kind", ["folder", "table", "zip"])
def test_names_that_look_alike_are_one_class(tmp_path: Path, kind: str) -> None:
    one, other = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    assert one != other
    root = fill(tmp_path / "d", {f"train/{one}": 3, f"val/{other}": 2, f"test/{other}": 1, f"test/{one}": 1})
    fill(root, {f"{split}/hiver": 1 for split in ("train", "val", "test")})
    files = sorted(p for p in root.rglob("*.png"))
    if kind == "table":
        rows = [[p.relative_to(root).as_posix(), p.parent.name, p.parent.parent.name] for p in files]
        root = make_csv(root / "t.csv", ["path", "label", "split"], rows)
    elif kind == "zip":
        root = make_zip(tmp_path / "d.zip", [(p.relative_to(root).as_posix(), p.read_bytes()) for p in files])
    manifest = load(root)
    assert manifest.classes == ("hiver", one)
    assert [counts(manifest, split)[one] for split in ("train", "val", "test")] == [3, 2, 2]


def test_names_that_differ_by_case_or_spaces_are_asked_about(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {**SPLIT, "test/Snow": 1})
    message = refusal(root)
    assert "'Snow' (1 in test) and 'snow' (2 in train, 2 in val, 2 in test)" in message
    assert '{"snow": ["Snow", "snow"], ..}' in message
    rest = {"rain": ["rain"], "sun": ["sun"]}
    assert counts(load(root, classes={"snow": ["Snow", "snow"], **rest}), "test") == {"rain": 2, "snow": 3, "sun": 2}
    fill(root, {"train/Snow": 1})
    answered = load(root, classes=["rain", "sun", "snow", "Snow"])  # the answer: they are two
    assert counts(answered, "test") == {"Snow": 1, "rain": 2, "snow": 2, "sun": 2}


def test_val_and_test_may_lack_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {k: n for k, n in SPLIT.items() if k not in ("val/snow", "test/snow", "test/sun")})
    manifest = load(root)
    assert manifest.classes == ("rain", "snow", "sun")
    assert counts(manifest, "val") == {"rain": 2, "sun": 2}
    val, test = manifest.notices
    assert "val has no images of 'snow'" in val
    assert "over 2 of 3" in val
    assert "test has no images of 'snow', 'sun'" in test
    assert "AUROC says nothing" in test


def test_train_must_have_every_class(tmp_path: Path) -> None:
    rows = [["a.png", "x", "train"], ["b.png", "y", "train"], ["c.png", "z", "val"], ["d.png", "z", "test"]]
    rows += [["e.png", "q", "test"], ["f.png", "x", "val"]]
    message = refusal(make_csv(tmp_path / "t.csv", ["path", "label", "split"], rows), root=str(filled(tmp_path, rows)))
    assert (
        "train has no image of 2 classes that other splits have: 'q' (1 in test), 'z' (1 in val, 1 in test)" in message
    )


def filled(folder: Path, rows: list[list[str]]) -> Path:
    for name, *_ in rows:
        (folder / name).write_bytes(name.encode())
    return folder


def test_classes_are_picked_merged_and_renamed(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {**SPLIT, "train/fog": 7, "test/fog": 1})
    picked = load(root, classes=["snow", "rain"])
    assert picked.classes == ("rain", "snow")
    assert picked.notices == ("data.classes: 14 images of 2 classes left out: 'fog' (8), 'sun' (6)",)
    merged = load(root, classes={"wet": ["rain", "snow"], "dry": ["sun"]})
    assert merged.classes == ("dry", "wet")
    assert counts(merged, "train") == {"wet": 4, "dry": 2}
    assert merged.notices == (
        "data.classes: 'wet' is 'rain' and 'snow' (12 images); 'dry' is 'sun' (6 images)",
        "data.classes: 8 images of 1 class left out: 'fog' (8)",
    )
    assert all(merged.classes[i.label] == ("dry" if "/sun/" in i.name else "wet") for i in merged.images)


def test_a_class_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(fill(tmp_path / "d", SPLIT), classes=["Rein", "snow", "hail"])
    assert "no class is called 'Rein' (did you mean 'rain'?), 'hail'" in message
    assert "'rain', 'snow', 'sun'" in message


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a"], "data.classes"),
        ("a", "Input should be a list of names".lower()),
        ({"x": ["a", "b"], "y": ["b"]}, "names the class 'b' twice"),
        ({"x": [], "y": ["b"]}, "data.classes"),
    ],
)
def test_classes_that_cannot_be_meant(tmp_path: Path, classes: Any, words: str) -> None:
    with pytest.raises(OptionsError) as refused:
        load(tmp_path, classes=classes)
    assert words in str(refused.value).replace("Input", "input")


def test_a_list_of_files_may_name_images_of_classes_that_are_not_picked(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", SPLIT)
    (tmp_path / "out.csv").write_text("train/sun/000.png\n")
    manifest = load(root, classes=["rain", "snow"], exclude=str(tmp_path / "out.csv"))
    assert len(manifest.images) == 12


def test_a_limit_takes_so_many_of_each_class_of_train_by_content(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"train/a": 30, "train/b": 4, "val/a": 9, "val/b": 9, "test/a": 9, "test/b": 9})
    (root / "train/a/copy.png").write_bytes((root / "train/a/000.png").read_bytes())
    small, large = load(root, limit=3), load(root, limit=9)
    assert counts(small, "train") == {"a": 3, "b": 3}
    assert counts(large, "train") == {"a": 9, "b": 4}
    assert counts(large, "val") == counts(large, "test") == {"a": 9, "b": 9}
    assert {i.sha256 for i in small.of("train")} < {i.sha256 for i in large.of("train")}
    assert len({i.sha256 for i in load(root, limit=30).of("train")}) == 34  # the copy is the last to come
    assert "data.limit: 13 of 35 train images taken, chosen by content" in large.notices
    for number, file in enumerate(sorted((root / "train/a").iterdir(), reverse=True)):
        file.rename(file.with_name(f"renamed {number}.png"))
    assert {i.sha256 for i in load(root, limit=3).images} == {i.sha256 for i in small.images}
    both = load(root, limit={"train": 2, "val": 1})
    assert [len(both.of(split)) for split in ("train", "val", "test")] == [4, 2, 18]
    pooled = load(root, limit=5, folds=2)
    assert Counter(i.label for i in pooled.images if i.split != "test") == {0: 5, 1: 5}
