"""An image folder is read as users lay it out: splits, classes, labels, contents, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import featcache.places
from featcache.data import load_manifest, quarantine
from featcache.data.image_order import by_name
from featcache.errors import DataError
from featcache.options.data_options import DataOptions
from featcache.records import Manifest

# Content is not decoded while a folder is scanned, so any distinct bytes will do for an image.
Tree = dict[str, int]


def fill(root: Path, tree: Tree, start: int = 0) -> Path:
    """`tree[folder]` files in each folder, each with a content of its own."""
    for folder, count in tree.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + count):
            (root / folder / f"{i:03d}.png").write_bytes(f"{folder} {i}".encode())
    return root


def put(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode())
    return file


def load(root: Path, cache: Path | None = None, **options: Any) -> Manifest:
    data = DataOptions(path=str(root), workers=2, **options)
    manifest, _ = load_manifest(data, cache or root.parent / "cache")
    return manifest


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as refused:
        load(root)
    return str(refused.value)


def counts(manifest: Manifest) -> tuple[int, int, int]:
    return len(manifest.of("train")), len(manifest.of("val")), len(manifest.of("test"))


def places(manifest: Manifest) -> dict[str, str]:
    return {i.name: i.split for i in manifest.images}


THREE: Tree = {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in ("cat", "dog")}
BARE: Tree = {"cat": 60, "dog": 60}


# --- layouts


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("train", "valid", "test"),
        ("Training", "validation", "Testing"),
        ("TRAIN", "Val", "TEST"),
        ("training", "Validation", "testing"),
    ],
)
def test_names_of_split_folders(tmp_path: Path, train: str, val: str, test: str) -> None:
    tree = {f"{train}/a": 3, f"{train}/b": 4, f"{val}/a": 2, f"{val}/b": 1, f"{test}/a": 1, f"{test}/b": 1}
    manifest = load(fill(tmp_path / "d", tree))
    assert counts(manifest) == (7, 3, 2)
    assert manifest.notices == ()
    for image in manifest.images:
        folder, name = image.name.split("/")[:2]
        assert {train: "train", val: "val", test: "test"}[folder] == image.split
        assert manifest.classes[image.label] == name
        assert image.place.read() == f"{folder}/{name} {int(Path(image.place.path).stem)}".encode()
        assert image.sha256 == hashlib.sha256(image.place.read()).hexdigest()


def test_val_is_cut_from_train_and_test_stays(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"Training/a": 60, "Training/b": 60, "Testing/a": 5, "Testing/b": 5})
    manifest = load(root)
    train, val, test = counts(manifest)
    assert (train, val, test) == (102, 18, 10)
    assert all(i.name.startswith("Testing/") for i in manifest.of("test"))
    (notice,) = manifest.notices
    assert "no val split" in notice
    assert "18 images for val cut from train" in notice
    assert "102 stay there" in notice


def test_test_is_cut_from_train_and_val_stays(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"train/a": 60, "train/b": 60, "val/a": 5, "val/b": 5})
    manifest = load(root)
    assert all(i.name.startswith("train/") for i in manifest.of("test"))
    assert len(manifest.of("val")) == 5 + 5
    (notice,) = manifest.notices
    assert "no test split in the data: 18 images for test cut from train" in notice


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_a_folder_of_classes_is_cut_in_three(tmp_path: Path, prefix: str) -> None:
    manifest = load(fill(tmp_path / "d", {f"{prefix}{name}": n for name, n in BARE.items()}))
    assert counts(manifest) == (84, 18, 18)
    for split in ("val", "test"):
        assert Counter(i.label for i in manifest.of(split)) == {0: 9, 1: 9}
    (notice,) = manifest.notices
    assert "no val and no test split in the data: 18 images for val and 18 images for test cut from train" in notice
    assert "by content hash; 84 stay there" in notice


def test_larger_fractions_cut_more(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", BARE)
    small, large = load(root), load(root, val_fraction=0.5, test_fraction=0.1)
    assert len(large.of("val")) > 1.5 * len(small.of("val"))
    assert {i.name for i in small.of("val")} < {i.name for i in large.of("val")}


def test_images_that_are_added_move_few_and_none_from_val_to_test(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", BARE)
    before = places(load(root))
    fill(root, {"cat": 40, "dog": 10}, start=60)
    after = places(load(root))
    assert len(after) == 170
    moved = [{before[name], after[name]} for name in before if before[name] != after[name]]
    assert len(moved) <= 6  # of 120; a class is exact to one image before and after
    assert {"val", "test"} not in moved


def test_the_cut_follows_content_and_not_names(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", BARE)
    before = {i.sha256: i.split for i in load(root).images}
    for index, file in enumerate(sorted(root.rglob("*.png"), reverse=True)):
        file.rename(file.with_name(f"renamed {index}.png"))
    assert {i.sha256: i.split for i in load(root).images} == before


def test_copies_of_one_content_stay_together(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", BARE)
    for file in sorted((root / "cat").iterdir()):
        (root / "cat" / f"copy of {file.name}").write_bytes(file.read_bytes())
        (root / "dog" / f"also {file.name}").write_bytes(file.read_bytes())  # labelled both ways
    manifest = load(root)
    assert len(manifest.images) == 240
    splits: dict[str, set[str]] = {}
    for image in manifest.images:
        splits.setdefault(image.sha256, set()).add(image.split)
    assert len(splits) == 120
    assert all(len(where) == 1 for where in splits.values())


def test_a_small_class_still_gets_one_image_in_each_split(tmp_path: Path) -> None:
    manifest = load(fill(tmp_path / "d", {"cat": 3, "dog": 3}))
    for split in ("train", "val", "test"):
        assert sorted(i.label for i in manifest.of(split)) == [0, 1]


@pytest.mark.parametrize(
    ("few", "where"),
    [(1, {"train"}), (2, {"train", "val"}), (3, {"train", "val", "test"}), (4, {"train", "val", "test"})],
)
def test_a_class_with_few_images_goes_as_far_as_it_reaches(tmp_path: Path, few: int, where: set[str]) -> None:
    root = fill(tmp_path / "d", {"cat": 20, "dog": few})
    for copy in range(5):  # which are no more images
        (root / "dog" / f"copy {copy}.png").write_bytes((root / "dog" / "000.png").read_bytes())
    manifest = load(root)
    assert {i.split for i in manifest.images if i.label == 1} == where
    assert {i.split for i in manifest.images if i.label == 0} == {"train", "val", "test"}
    said = [n for n in manifest.notices if "too few distinct images for every split" in n]
    assert len(said) == (few < 3)
    if said:
        assert f"'dog' has {few} and is in {' and '.join(s for s in ('train', 'val') if s in where)} only" in said[0]
        assert f"Figures of {'val and test' if few == 1 else 'test'} leave such classes out" in said[0]


@pytest.mark.parametrize(("few", "split"), [(1, "val"), (2, "test")])
def test_a_split_that_would_have_no_image_is_not_cut(tmp_path: Path, few: int, split: str) -> None:
    message = refusal(fill(tmp_path / "d", {"cat": few, "dog": few}))
    assert f"too few distinct images in train to cut {split}" in message


def test_folds_say_which_classes_have_fewer_images(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"ant": 30, "bee": 30, "cat": 3, "dog": 1})
    (root / "cat" / "copy.png").write_bytes((root / "cat" / "000.png").read_bytes())
    (line,) = [n for n in load(root, folds=5).notices if "data.folds" in n]
    assert "5 folds are more than the distinct images of 'cat' (2), 'dog' (1)" in line  # one of three is for test
    assert "'dog' is judged by a head that never saw it" in line
    assert not any("data.folds" in n for n in load(root, tmp_path / "cache").notices)
    with pytest.raises(DataError, match="90 folds need at least 90 distinct images of some class"):
        load(root, folds=90)


def test_classes_are_sorted_and_labels_follow(tmp_path: Path) -> None:
    names = ["zebra", "Ant", "10", "9", "bee"]
    manifest = load(fill(tmp_path / "d", {f"{s}/{n}": 1 for s in ("train", "val", "test") for n in names}))
    assert manifest.classes == ("10", "9", "Ant", "bee", "zebra")
    assert all(manifest.classes[i.label] == i.name.split("/")[1] for i in manifest.images)


def test_images_in_sub_folders_belong_to_their_class(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    put(root / "train" / "cat" / "patient 1" / "visit 2" / "x.png", "deep")
    manifest = load(root)
    (deep,) = [i for i in manifest.images if i.name.endswith("x.png")]
    assert deep.name == "train/cat/patient 1/visit 2/x.png"
    assert (manifest.classes[deep.label], deep.split) == ("cat", "train")


def test_a_path_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "pictures", THREE)
    manifest, _ = load_manifest(DataOptions(path="~/pictures"), tmp_path / "cache")
    assert len(manifest.images) == 12


# --- what is refused


def test_a_missing_path(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere")
    assert f"{tmp_path / 'nowhere'} does not exist" in message


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    assert "a file of a kind that is not read (.png)" in refusal(put(tmp_path / "x.png", "x"))


def test_the_home_folder_of_nobody(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_manifest(DataOptions(path="~no-such-user-at-all/pictures"), tmp_path / "cache")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, ["no class folders"]),
        ({"cat": 9}, ["one class only", "'cat'"]),
        ({"train/cat": 9, "test/cat": 3}, ["one class only", "'cat'"]),
        (
            {**THREE, "val/bird": 2, "test/bird": 3, "test/owl": 1, "train/owl": 0},
            ["train has no image of 2 classes", "'bird' (2 in val, 3 in test), 'owl' (1 in test)", "data.classes"],
        ),
        (
            {**THREE, "val/Dog": 2, "test/ dog": 1, "train/c at": 5},
            [
                "'c at' (5 in train) and 'cat' (2 in train, 2 in val, 2 in test)",
                "' dog' (1 in test) and 'Dog' (2 in val) and 'dog' (2 in train, 2 in val, 2 in test)",
                '{"dog": [" dog", "Dog", "dog"], ..}',
            ],
        ),
        ({"cat": 9, "dog": 0}, ["one class only ('cat'); the class 'dog' has no image"]),
        ({**THREE, "test/cat": 0, "test/dog": 0}, ["none of its 2 class folders", "test is empty"]),
        ({**THREE, "valid/cat": 1, "valid/dog": 1}, ["'val'", "'valid'", "Keep one"]),
        ({**THREE, "Train/cat": 1}, ["'Train'", "'train'"]),
        ({"val/cat": 2, "test/cat": 2}, ["no train folder"]),
        ({**THREE, "extra": 3}, ["'extra'"]),
        ({**THREE, "empty": 0}, ["'empty'"]),
    ],
)
def test_a_folder_that_cannot_be_used(tmp_path: Path, tree: Tree, words: list[str]) -> None:
    (tmp_path / "d").mkdir()
    message = refusal(fill(tmp_path / "d", tree))
    assert str(tmp_path / "d") in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split(tmp_path: Path, split: str) -> None:
    root = fill(tmp_path / "d", {k: v for k, v in THREE.items() if not k.startswith(split)})
    (root / split).mkdir()
    assert f"{root / split}: no class folders" in refusal(root)


def lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing `folder` fails as without permission; real permissions do not bind the root user of containers."""
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, _refusing(getattr(os, name), folder))


def _refusing(function: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    def refuse(path: Any = ".") -> Any:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return function(path)

    return refuse


@pytest.mark.parametrize("place", ["", "train", "train/cat", "train/cat/more"])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    # Passing over it would train on a part of the data in silence.
    root = fill(tmp_path / "d", {**THREE, "train/cat/more": 3})
    locked = root / place
    lock(locked, monkeypatch)
    message = refusal(root)
    assert str(locked) in message
    assert "ermission" in message


def test_a_link_to_nothing_is_set_aside_alone_and_read_once_its_file_is_there(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    (root / "train" / "cat" / "000 lost.png").symlink_to(tmp_path / "gone.png")
    (root / "test" / "dog" / "lost too.png").symlink_to("gone.png")
    options = DataOptions(path=str(root), workers=2, max_bad_fraction=0.5)
    manifest, memo = load_manifest(options, tmp_path / "cache")
    left, bad = quarantine(manifest, memo, options, tmp_path / "cache")
    assert len(left.images) == 12
    reason = "a link to a file that is not there"
    assert [(b.name, b.reason) for b in bad] == [
        (n, reason) for n in ("train/cat/000 lost.png", "test/dog/lost too.png")
    ]
    put(tmp_path / "gone.png", "found")
    manifest, memo = load_manifest(options, tmp_path / "cache")
    assert [b.name for b in quarantine(manifest, memo, options, tmp_path / "cache")[1]] == ["test/dog/lost too.png"]


# --- what is passed over


def test_what_systems_leave_behind_is_passed_over(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    clean = load(root)
    for junk in (
        ".DS_Store",
        "train/.DS_Store",
        "train/cat/.DS_Store",
        "train/cat/Thumbs.db",
        "train/cat/desktop.ini",
        "train/cat/._000.png",
        "train/cat/.hidden.png",
        "train/cat/.ipynb_checkpoints/000-checkpoint.png",
        "train/.ipynb_checkpoints/x.png",
        ".git/config",
        "__MACOSX/train/cat/000.png",
        "train/cat/@eaDir/000.png",
    ):
        put(root / junk, junk)
    manifest = load(root)
    assert manifest.images == clean.images
    assert manifest.fingerprint == clean.fingerprint
    assert manifest.notices == ()


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    manifest = load(fill(tmp_path / "d", {**BARE, ".cache": 3, "__MACOSX": 3}))
    assert manifest.classes == ("cat", "dog")


def test_files_that_are_no_images_by_name_are_reported(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    put(root / "train/cat/notes.txt", "n")
    put(root / "test/dog/labels.csv", "l")
    manifest = load(root)
    assert len(manifest.images) == 12
    assert sorted(manifest.ignored) == ["test/dog/labels.csv", "train/cat/notes.txt"]
    (notice,) = manifest.notices
    assert "2 files ignored" in notice
    assert manifest.ignored[0] in notice


def test_a_class_of_other_files_is_empty(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", {"cat": 9, "dog": 0})
    put(root / "dog" / "readme.txt", "r")
    assert "'dog'" in refusal(root)


@pytest.mark.parametrize("name", ["a.JPG", "b.jpeg", "c.Png", "d.webp", "e.tif", "f.bmp", "g.gif", "no ending"])
def test_endings_of_images(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path / "d", THREE)
    put(root / "train/cat" / name, "more")
    assert f"train/cat/{name}" in {i.name for i in load(root).images}


# --- names


def test_unusual_names(tmp_path: Path) -> None:
    root = fill(
        tmp_path / "my data [v2]", {f"{s}/{c}": 1 for s in ("train", "val", "test") for c in ("[a] b", "größe")}
    )
    for name in ("with space.png", "br[ack]ets*.png", "日本語.png", "quote'\".png", "new\nline.png", "-dash.png"):
        put(root / "train" / "größe" / name, name)
    manifest = load(root)
    assert manifest.name == "my data [v2]"
    assert manifest.classes == ("[a] b", "größe")
    names = {i.name for i in manifest.images}
    assert {"train/größe/日本語.png", "train/größe/br[ack]ets*.png"} <= names
    assert len(names) == 12


def raw(folder: Path, name: bytes) -> Path:
    """A path whose name need not be UTF-8; skips where the file system insists on it (macOS)."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(folder), name)))  # noqa: PTH118 (bytes)
    try:
        path.mkdir()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    path.rmdir()
    return path


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    put(raw(root / "train" / "cat", b"caf\xe9.png"), "latin")
    put(raw(root / "train" / "cat", b"\xff\xfe.txt"), "ignored")
    manifest = load(root)
    (image,) = [i for i in manifest.images if "caf" in i.name]
    assert image.name == "train/cat/caf\\xe9.png"
    assert image.place.read() == b"latin"
    "".join([*manifest.ignored, *manifest.notices]).encode()  # tables are UTF-8
    assert load(root) == manifest  # from the memo


def test_class_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", BARE)
    odd = raw(root, b"r\xf6ntgen")
    for i in range(20):
        put(odd / f"{i}.png", f"odd {i}")
    manifest = load(root)
    assert sum(manifest.classes[i.label] not in {"cat", "dog"} for i in manifest.images) == 20
    for name in manifest.classes:
        name.encode()  # as every table and report writes it


# --- links


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", {"pool": 4})
    root = fill(tmp_path / "d", THREE)
    (root / "train/cat/linked.png").symlink_to(elsewhere / "pool/000.png")
    (root / "train/dog/linked").symlink_to(elsewhere / "pool")
    manifest = load(root)
    names = {i.name: i for i in manifest.images}
    assert len(names) == 12 + 1 + 4
    assert names["train/cat/linked.png"].sha256 == names["train/dog/linked/000.png"].sha256


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    (root / "train/cat/again").symlink_to(root / "train/cat")
    (root / "train/cat/deeper").mkdir()
    (root / "train/cat/deeper/up").symlink_to(root / "train/cat")
    put(root / "train/cat/deeper/x.png", "x")
    names = [i.name for i in load(root).of("train") if i.name.startswith("train/cat/")]
    assert sorted(names) == ["train/cat/000.png", "train/cat/001.png", "train/cat/deeper/x.png"]


# --- fingerprint


def test_fingerprint_is_of_what_is_there(tmp_path: Path) -> None:
    first = load(fill(tmp_path / "one" / "d", THREE))
    # The same files, written in the opposite order, elsewhere, scanned by another number of threads.
    second = fill(tmp_path / "two" / "d", dict(reversed(THREE.items())))
    manifest, _ = load_manifest(DataOptions(path=str(second), workers=1), tmp_path / "two" / "cache")
    assert manifest.fingerprint == first.fingerprint
    shuffled = replace(first, images=tuple(reversed(first.images)))
    assert shuffled.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "train/cat/000.png").rename(root / "train/dog/new.png"),  # label
        lambda root: (root / "train/cat/000.png").rename(root / "val/cat/new.png"),  # split
        lambda root: (root / "train/cat/000.png").write_bytes(b"other"),  # content
        lambda root: (root / "train/cat/000.png").unlink(),
        lambda root: put(root / "train/cat/new.png", "new"),
        lambda root: (root / "train/cat/new.png").write_bytes((root / "train/cat/000.png").read_bytes()),
        lambda root: [(root / s / "cat").rename(root / s / "lion") for s in ("train", "val", "test")],
    ],
    ids=["label", "split", "content", "fewer", "more", "a copy", "class name"],
)
def test_fingerprint_changes_with(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    root = fill(tmp_path / "d", THREE)
    before = load(root).fingerprint
    change(root)
    assert load(root).fingerprint != before


def test_names_are_no_part_of_the_data_nor_of_its_order(tmp_path: Path) -> None:
    """Files are called so that names sort the other way round, and one content is there twice."""
    root = fill(tmp_path / "d", THREE)
    put(root / "train/cat/copy.png", "train/cat 0")
    before = load(root)
    for number, image in enumerate(reversed(by_name(before.images))):
        file = root / image.name
        file.rename(file.with_name(f"new {number:03d}.png"))
    after = load(root)
    assert not {i.name for i in before.images} & {i.name for i in after.images}
    assert after.fingerprint == before.fingerprint
    assert [(i.sha256, i.label, i.split) for i in after.images] == [(i.sha256, i.label, i.split) for i in before.images]
    assert len(after.of("train")) == len({i.sha256 for i in after.of("train")}) + 1


def test_weights_of_copies_stand_in_one_order(tmp_path: Path) -> None:
    """Whichever of the two copies has which name."""
    root = fill(tmp_path / "d", THREE)
    put(root / "train/cat/copy.png", (root / "train/cat/000.png").read_bytes().decode())
    orders = []
    for heavy in ("000", "copy"):
        rows = [[i.name, i.name.split("/")[1], i.split] for i in load(root).images]
        lines = ["path,label,split,weight", *(",".join([*r, "3" if f"cat/{heavy}" in r[0] else "1"]) for r in rows)]
        (root / f"{heavy}.csv").write_text("\n".join(lines))
        manifest, _ = load_manifest(DataOptions(path=str(root / f"{heavy}.csv")), tmp_path / "cache")
        train = manifest.of("train")
        orders.append([(i.sha256, i.weight) for i in train])
    assert orders[0] == orders[1] and sum(weight == 3 for _, weight in orders[0]) >= 1


# --- the memo of hashes


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of every file that is hashed."""
    done: list[str] = []
    original = featcache.places._hashed

    def counting(path: str, *args: Any) -> Any:
        done.append(Path(path).name)
        return original(path, *args)

    monkeypatch.setattr(featcache.places, "_hashed", counting)
    return done


def test_a_second_scan_reads_no_file(tmp_path: Path, reads: list[str]) -> None:
    root = fill(tmp_path / "d", THREE)
    first = load(root)
    assert len(reads) == 12
    reads.clear()
    assert load(root) == first
    assert reads == []


def test_only_what_changed_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    root = fill(tmp_path / "d", THREE)
    before = {i.name: i.sha256 for i in load(root).images}
    reads.clear()
    changed = root / "train/cat/001.png"
    stat = changed.stat()
    changed.write_bytes(changed.read_bytes()[::-1])  # as long as it was
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    put(root / "train/cat/new.png", "new")
    after = {i.name: i.sha256 for i in load(root).images}
    assert sorted(reads) == ["001.png", "new.png"]
    assert {n for n in before if before[n] != after[n]} == {"train/cat/001.png"}
    assert after["train/cat/001.png"] == hashlib.sha256(changed.read_bytes()).hexdigest()


def test_a_longer_file_of_the_same_time_is_read_again(tmp_path: Path) -> None:
    root = fill(tmp_path / "d", THREE)
    load(root)
    changed = root / "train/cat/001.png"
    stat = changed.stat()
    changed.write_bytes(changed.read_bytes() + b"!")
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (image,) = [i for i in load(root).images if i.name == "train/cat/001.png"]
    assert image.sha256 == hashlib.sha256(changed.read_bytes()).hexdigest()


def memos(cache: Path) -> list[Path]:
    return [p for p in cache.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: b"\xff\x00" + whole,
        lambda whole: b"[1, 2]",
        lambda whole: json.dumps({**json.loads(whole), "files": 3}).encode(),
        lambda whole: json.dumps({**json.loads(whole), "files": dict.fromkeys(json.loads(whole)["files"], 3)}).encode(),
    ],
    ids=["empty", "cut short", "not text", "a list", "another shape", "other entries"],
)
def test_a_damaged_memo_costs_a_reading_and_no_more(
    tmp_path: Path, reads: list[str], damage: Callable[[bytes], bytes]
) -> None:
    root = fill(tmp_path / "d", THREE)
    first = load(root)
    (memo,) = memos(tmp_path / "cache")
    memo.write_bytes(damage(memo.read_bytes()))
    reads.clear()
    assert load(root) == first
    assert len(reads) == 12
    reads.clear()
    assert load(root) == first  # whole again
    assert reads == []


def test_two_folders_share_a_cache_without_mixing(tmp_path: Path, reads: list[str]) -> None:
    one, two = fill(tmp_path / "one", THREE), fill(tmp_path / "two", BARE)
    cache = tmp_path / "cache"
    first, second = load(one, cache), load(two, cache)
    reads.clear()
    assert (load(one, cache), load(two, cache)) == (first, second)
    assert reads == []


# --- the embedded demo set


def test_the_demo_set_is_there_and_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = DataOptions(path="demo:digits")
    first, _ = load_manifest(options, tmp_path / "cache")
    assert first.classes == ("0", "1", "2", "3")
    assert counts(first) == (504, 108, 108)
    assert len({i.sha256 for i in first.images}) > 700  # pictures, and not one over and over
    for split in ("train", "val", "test"):
        assert {i.label for i in first.of(split)} == {0, 1, 2, 3}
    with Image.open(first.images[0].place.path) as image:
        assert image.format == "PNG"
        image.load()

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("written a second time")

    monkeypatch.setattr(Image.Image, "save", never)
    second, _ = load_manifest(options, tmp_path / "cache")
    assert second == first
