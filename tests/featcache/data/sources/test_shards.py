"""WebDataset's shards: samples with a label beside each image, one or many tars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from source_makers import contents, load, make_tar

from featcache.data.sources import list_images
from featcache.data.sources.brace_patterns import expand
from featcache.errors import DataError
from featcache.options import DataOptions

SPLITS = ("train", "val", "test")


def sample(key: str, label: str, kind: str = "cls") -> list[tuple[str, bytes]]:
    said = label if kind == "cls" else json.dumps({"label": label, "caption": "x"})
    return [(f"{key}.jpg", f"picture {key}".encode()), (f"{key}.{kind}", said.encode())]


def write(folder: Path, kind: str = "cls", ending: str = "tar") -> Path:
    """Two shards of train, one of val and test: four samples each; keys begin anew in each."""
    folder.mkdir()
    for shard in ("train-000", "train-001", "val-000", "test-000"):
        samples = [sample(f"{n:05d}", str(n % 2), kind) for n in range(4)]
        make_tar(folder / f"{shard}.{ending}", [part for one in samples for part in one], "./")
    return folder


@pytest.mark.parametrize("kind", ["cls", "json"])
@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
@pytest.mark.parametrize("pattern", ["", "/{train-{000..001},val-000,test-000}.TAR", "/*-*.TAR"])
def test_shards(tmp_path: Path, kind: str, ending: str, pattern: str) -> None:
    folder = write(tmp_path / "set", kind, ending)
    (folder / "classnames.txt").write_text("cat\ndog\n")
    manifest = load(f"{folder}{pattern.replace('TAR', ending)}", tmp_path / "cache")
    assert manifest.classes == ("cat", "dog")
    assert [len(manifest.of(split)) for split in SPLITS] == [8, 4, 4]
    found = {name: (label, split) for name, _, label, split in contents(manifest)}
    assert found["train-001/00003.jpg"] == ("dog", "train") and found["val-000/00000.jpg"] == ("cat", "val")
    assert {i.place.read() for i in manifest.images} == {f"picture {n:05d}".encode() for n in range(4)}


def test_one_tar_of_samples_and_keys_in_folders(tmp_path: Path) -> None:
    parts = [part for n in range(40) for part in sample(f"a.b/{n % 2}/{n}", "cat" if n % 2 else "dog")]
    manifest = load(make_tar(tmp_path / "x.tar", [*parts, ("a.b/1/odd.jpg", b"no label")]), tmp_path / "cache")
    assert len(manifest.images) == 40 and {i.name for i in manifest.images} == {
        f"a.b/{n % 2}/{n}.jpg" for n in range(40)
    }
    assert any("1 image without a label left out, such as a.b/1/odd.jpg" in line for line in manifest.notices)


def labelled(folder: Path, labels: list[str], names: str = "") -> Path:
    """Shards of one tar, a sample for each label."""
    folder.mkdir()
    if names:
        (folder / "classnames.txt").write_text(names)
    make_tar(folder / "x-000.tar", [part for n, label in enumerate(labels) for part in sample(f"{n:05d}", label)])
    return folder


@pytest.mark.parametrize("names", ["", "cat\ndog\n"])
def test_the_class_minus_one_is_none_and_not_the_last_name(tmp_path: Path, names: str) -> None:
    manifest = load(labelled(tmp_path / "x", ["0", "1", "-1"] * 12, names), tmp_path / "cache")
    assert manifest.classes == (("cat", "dog") if names else ("0", "1")) and len(manifest.images) == 24
    assert any("12 images without a label left out, such as 00002.jpg" in line for line in manifest.notices)


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        (["0", "1", "-2"], "", r"'00002\.jpg' has the class -2: none is negative but -1"),
        (["0", "-3", "1"], "cat\ndog\n", r"'00001\.jpg' has the class -3"),
        (["0", "1"], "cat\n", r"'00001\.jpg' has the class 1, and there is 1 name"),
        (["-1", "1"], "", r"1 image without a label \(the class -1, .* all of the class '1'.*give it another number"),
    ],
)
def test_numbers_that_stand_for_nothing(tmp_path: Path, labels: list[str], names: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(labelled(tmp_path / "x", labels, names), tmp_path / "cache")


def test_whole_numbers_are_one_class_however_they_are_written(tmp_path: Path) -> None:
    manifest = load(labelled(tmp_path / "x", ["1", "1.0", "0.", "0"] * 10), tmp_path / "cache")
    assert manifest.classes == ("0", "1") and len(manifest.images) == 40
    named = load(labelled(tmp_path / "y", ["1.0", "0.0"] * 10, "cat\ndog\n"), tmp_path / "cache")
    assert named.classes == ("cat", "dog")
    assert load(labelled(tmp_path / "z", ["v1.0", "v1"] * 10), tmp_path / "cache").classes == ("v1", "v1.0")
    assert load(labelled(tmp_path / "w", ["01", "10"] * 10), tmp_path / "cache").classes == ("01", "10")


def test_samples_of_several_images_are_said(tmp_path: Path) -> None:
    parts = [part for n in range(30) for part in sample(f"{n:02d}", "cat" if n % 2 else "dog")]
    manifest = load(make_tar(tmp_path / "x.tar", [*parts, ("03.depth.png", b"far")]), tmp_path / "cache")
    assert len(manifest.images) == 31
    assert any(
        "1 sample with several images" in line and "03.jpg and 03.depth.png" in line for line in manifest.notices
    )
    plain = load(make_tar(tmp_path / "y.tar", parts), tmp_path / "cache")
    assert not any("several images" in line for line in plain.notices)


def test_a_label_that_is_a_record_is_an_error(tmp_path: Path) -> None:
    record = json.dumps({"label": ["cat", "dog"]}).encode()
    file = make_tar(tmp_path / "x-000.tar", [("1.jpg", b"x"), ("1.json", record), ("2.jpg", b"y"), ("2.cls", b"cat")])
    with pytest.raises(DataError, match=r"'1\.jpg' has \['cat', 'dog'\] where a text"):
        load(file, tmp_path / "cache")


def test_shards_that_cannot_be_used(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    with pytest.raises(DataError, match=r"train-002\.tar is not there"):
        load(f"{folder}/train-{{000..002}}.tar", tmp_path / "cache")
    make_tar(folder / "train-000.tar", [("1.jpg", b"x"), ("1.txt", b"y")])
    with pytest.raises(DataError, match="none of its 1 image has a label beside it"):
        load(f"{folder}/train-{{000..000}}.tar", tmp_path / "cache")
    make_tar(folder / "train-000.tar", [("1.jpg", b"x"), ("1.json", b"{")])
    with pytest.raises(DataError, match=r"1\.json is no JSON"):
        load(f"{folder}/train-{{000..000}}.tar", tmp_path / "cache")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("x{08..10}y", ["x08y", "x09y", "x10y"]),
        ("{a,b{1..2}}-{c,}", ["a-c", "a-", "b1-c", "b1-", "b2-c", "b2-"]),
    ],
)
def test_braces_are_a_shells(pattern: str, names: list[str]) -> None:
    assert expand(pattern) == names


def test_too_many_names() -> None:
    for pattern in ("{0..99999999999}", "{0..9999}{0..9999}"):
        with pytest.raises(DataError, match="more than 1000000"):
            expand(pattern)


def test_names_of_classes_in_another_encoding_or_with_a_hole(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    make_tar(tmp_path / "x" / "x-000.tar", [part for n in "01" for part in sample(n, n)])
    (tmp_path / "x" / "classnames.txt").write_bytes("Käse\nbrot\n\n".encode("cp1252"))
    options = DataOptions(path=str(tmp_path / "x"))
    assert [row.label for row in list_images(options.path, options).rows] == ["Käse", "brot"]
    (tmp_path / "x" / "classnames.txt").write_text("cat\n\ndog\n")
    with pytest.raises(DataError, match="line 2 is blank"):
        list_images(options.path, options)


def test_one_tar_with_records_beside_its_images(tmp_path: Path) -> None:
    """Samples without a file of text: known by a label in the record, unless folders say what is what."""
    members = [m for n in range(2) for m in ((f"x/{n}.jpg", b"%d" % n), (f"x/{n}.json", b'{"label": %d}' % n))]
    options = DataOptions(path=str(make_tar(tmp_path / "a.tar", members)))
    assert [row.label for row in list_images(options.path, options).rows] == ["0", "1"]
    options = DataOptions(path=str(make_tar(tmp_path / "b.tar", [*members, ("y/0.jpg", b"2")])))
    assert [row.label for row in list_images(options.path, options).rows] == ["x", "x", "y"]
