"""Images get groups by a folder, a pattern or a table; what was cut keeps them whole, and what straddles is said."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_manifest import load, put

from featcache.data.few_groups import remedy_of_few
from featcache.data.image_groups import straddling_said
from featcache.data.stratified_cut import _draw
from featcache.errors import DataError, OptionsError
from featcache.options import parse_options
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest

CLASSES = ("cat", "dog")


def groups(manifest: Manifest) -> dict[str, str | None]:
    return {i.name: i.group for i in manifest.images}


def patients(root: Path, count: int = 40, first: int = 0) -> Path:
    """`<class>/P<nn>/<n>.png`: patients of 1 to 6 images, every fourth of both classes."""
    rng = np.random.default_rng(0)
    for patient, size in enumerate(rng.integers(1, 7, first + count).tolist()):
        own = CLASSES if patient % 4 == 0 else CLASSES[patient % 2 : patient % 2 + 1]
        for name in own if patient >= first else ():
            for n in range(size):
                put(root / name / f"P{patient:02d}" / f"{n}.png", f"{name} {patient} {n}")
    return root


def splits_of(manifest: Manifest) -> dict[str | None, set[str]]:
    found: dict[str | None, set[str]] = defaultdict(set)
    for image in manifest.images:
        found[image.group].add(image.split)
    return found


def table(file: Path, *rows: str) -> str:
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return str(file)


# The three rules


@pytest.mark.parametrize("splits", ["", "train/"])
def test_a_folder_below_the_class_names_the_group(tmp_path: Path, splits: str) -> None:
    root = tmp_path / "d"
    for n in range(9):
        for name in CLASSES:
            put(root / f"{splits}{name}" / f"site {n % 2}" / f"p{n}" / "x.png", f"{name} {n}")
        put(root / f"{splits}cat" / "loose.png", "loose")
    one, two = (groups(load(root, groups=f"folder:{level}")) for level in (1, 2))
    name = f"{splits}cat/site 1/p3/x.png"
    assert (one[name], two[name]) == ("site 1", "site 1/p3")
    assert one[f"{splits}dog/site 1/p3/x.png"] == "site 1"  # a patient may have images of several classes
    assert one[f"{splits}cat/loose.png"] is two[f"{splits}cat/loose.png"] is None


def test_a_pattern_names_the_group_by_its_first_part_or_by_the_one_called_group(tmp_path: Path) -> None:
    root = tmp_path / "d"
    for n in range(20):
        put(root / CLASSES[n % 2] / f"P{n // 4}_{n}.png", f"{n}")
    first = groups(load(root, groups=r"pattern:/(P\d+)_"))
    named = groups(load(root, groups={"pattern": r"/(P)(?P<group>\d+)_"}))
    assert first["dog/P2_9.png"] == "P2"
    assert named["dog/P2_9.png"] == "2"


@pytest.mark.parametrize(
    "spelt", [lambda name: name, lambda name: f"./{name}", lambda name: Path(name).name, lambda name: Path(name).stem]
)
def test_a_table_names_files_by_path_or_by_their_last_part(tmp_path: Path, spelt: Any) -> None:
    root = tmp_path / "d"
    names = [f"{CLASSES[n % 2]}/x{n}, {n}.png" for n in range(12)]
    for name in names:
        put(root / name, name)
    rows = [f'7,"{spelt(name)}", person {n // 3}' for n, name in enumerate(names[:-1])]
    file = table(tmp_path / "who.csv", "age,file,patient", *rows)
    manifest = load(root, groups={"csv": file, "column": "patient", "path": "file"})
    assert groups(manifest) == {name: f"person {n // 3}" if n < 11 else None for n, name in enumerate(names)}
    assert any("11 images in 4 groups of 2 to 3" in n and "1 image without a group" in n for n in manifest.notices)


@pytest.mark.parametrize("header", ["", "\ufeff", "sep={}\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", " , "])
@pytest.mark.parametrize("slash", ["/", "\\", "/ "])
def test_a_table_may_be_as_spreadsheets_save_it(tmp_path: Path, header: str, separator: str, slash: str) -> None:
    root = patients(tmp_path / "d")
    names = [p.relative_to(root).as_posix() for p in sorted(root.rglob("*.png"))]
    lines = [
        f'"age"{separator}path{separator}who',
        *(f"7{separator}{_spelt(n, slash)}{separator}{n[4:7]}" for n in names),
    ]
    (tmp_path / "g.csv").write_bytes((header.format(separator.strip(" ")) + "\r\n".join(lines)).encode())
    assert groups(load(root, groups=f"csv:{tmp_path / 'g.csv'}:who")) == {n: n[4:7] for n in names}


def _spelt(name: str, slash: str) -> str:
    return f"{name} " if slash == "/ " else name.replace("/", slash)


def test_names_with_blanks_and_backslashes_are_themselves_where_images_are_called_so(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    for name in (" x .png", "a\\b.png"):
        put(root / "cat" / name, name)
    file = table(tmp_path / "g.csv", "path,group", '"cat/ x .png",a', '"cat/a\\b.png",b')
    found = groups(load(root, groups=f"csv:{file}"))
    assert (found["cat/ x .png"], found["cat/a\\b.png"]) == ("a", "b")


def test_a_rule_that_keeps_nothing_together_is_said(tmp_path: Path) -> None:
    manifest = load(patients(tmp_path / "d"), groups="pattern:(.*)")
    assert any("groups of 1: no two images share one" in n for n in manifest.notices)


def test_a_table_may_name_files_that_are_left_out_or_not_there(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    out = "cat/P00/0.png"
    file = table(tmp_path / "g.csv", "path,group", f"{out},a", "cat/P00/1.png,a", "gone.png,b", "cat/P00/2.png,")
    manifest = load(root, groups=f"csv:{file}", exclude=table(tmp_path / "out.txt", out))
    assert groups(manifest)["cat/P00/1.png"] == "a"
    assert groups(manifest)["cat/P00/2.png"] is None
    assert any("1 of 4 files" in n and "'gone.png'" in n for n in manifest.notices)


def test_an_audits_table_knows_images_that_were_renamed_by_content(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    one, two, three = (i for i in load(root).images if i.name in {f"cat/P00/{n}.png" for n in range(3)})
    rows = [f"{i.name},a,near copy,{i.sha256}" for i in (one, two)]
    file = table(tmp_path / "g.csv", "path,group,reason,sha256", *rows)
    (root / one.name).rename(root / "moved")  # each name goes to another image
    (root / three.name).rename(root / one.name)
    (root / two.name).rename(root / three.name)
    (root / "moved").rename(root / two.name)
    contents = {i.sha256: i.group for i in load(root, groups=f"csv:{file}").images}
    assert (contents[one.sha256], contents[two.sha256], contents[three.sha256]) == ("a", "a", None)


def test_lines_of_other_images_than_their_names_group_none(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    sha256 = next(i.sha256 for i in load(root).images if i.name == "cat/P00/1.png")
    wrong = f"cat/P00/0.png,a,near copy,{'0' * 64}"
    file = table(tmp_path / "g.csv", "path,group,reason,sha256", wrong)
    with pytest.raises(DataError, match=r"1 line of other images than those of their names, such as 'cat/P00/0.png'"):
        load(root, groups=f"csv:{file}")
    file = table(tmp_path / "g.csv", "path,group,reason,sha256", wrong, f"gone.png,b,near copy,{sha256}")
    manifest = load(root, groups=f"csv:{file}")
    assert (groups(manifest)["cat/P00/0.png"], groups(manifest)["cat/P00/1.png"]) == (None, "b")
    assert any("1 line of other images" in n for n in manifest.notices)


def test_a_table_without_lines_makes_no_groups(tmp_path: Path) -> None:
    manifest = load(patients(tmp_path / "d"), groups=f"csv:{table(tmp_path / 'g.csv', 'path,group,reason')}")
    assert set(groups(manifest).values()) == {None}
    assert any("lists no file" in n for n in manifest.notices)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("folder:2", ["folder 2 below the class", "none of", "<class>/<folder 1>/<folder 2>/x.png"]),
        (r"pattern:(\d+)_", ["none of", "cat/P00/0.png"]),
        ("pattern:(png)", ["all", "'png'"]),
        ("csv:nowhere.csv", ["nowhere.csv cannot be read", "No such file", "--write-groups"]),
        (["file,group", "cat/P00/0.png,a"], ["no column 'path'", "'file', 'group'"]),
        (["path,group", "nowhere.png,a"], ["none of its 1 file ", "'nowhere.png'", "'cat/P00/0.png'"]),
        (["path,group", "0.png,a"], ["by their last part", "images are called '0.png'", "cat/P00/0.png"]),
        (["path,group", "cat/P00/0.png,a", "cat/P00/0.png,b"], ["twice", "'a' and 'b'"]),
        (["path,group", "cat/P00/0.png,"], ["blank for every image"]),
        (["path;Group", "cat/P00/0.png;a"], ["no column 'group'", "'path', 'Group'"]),
        (["path,group,group", "cat/P00/0.png,a,b"], ["several columns called 'group'"]),
    ],
)
def test_rules_that_give_no_groups(tmp_path: Path, rule: str | list[str], words: list[str]) -> None:
    root = patients(tmp_path / "d")
    wanted = rule if isinstance(rule, str) else f"csv:{table(tmp_path / 'g.csv', *rule)}"
    with pytest.raises(DataError) as refused:
        load(root, groups=wanted)
    for word in ["data.groups", *words]:
        assert word in str(refused.value)


def options(rule: Any) -> Any:
    data = {"path": "x", "groups": rule} if rule is not None else {"path": "x"}
    return parse_options({"experiment_name": "a", "model": {"backbone": "resnet18"}, "data": data})


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("folder:2", {"folder": 2}),
        ("pattern:a:(b)", {"pattern": "a:(b)"}),
        ("csv:a.csv", {"csv": "a.csv"}),
        ("csv:a.csv:patient id", {"csv": "a.csv", "column": "patient id"}),
        ("csv:C:/a.csv", {"csv": "C:/a.csv"}),
        (r"csv:C:\b\a.csv:p", {"csv": r"C:\b\a.csv", "column": "p"}),
    ],
)
def test_short_forms_are_the_same_options(short: str, whole: dict[str, Any]) -> None:
    assert options(short) == options(whole) == parse_options(options(short).as_dict())
    assert options(short).short == options(whole).short != options(None).short


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("patient", "'patient': expected \"folder:1\""),
        ("folder:0", "greater than or equal to 1"),
        ("pattern:P", "no part in brackets"),
        ("pattern:(", "no regular expression"),
        ({}, "no rule"),
        ({"folder": 1, "csv": "a"}, "folder and csv"),
        ({"folder": 1, "column": "p"}, "are of a CSV"),
        ({"folders": 1}, "did you mean 'data.groups.folder'"),
    ],
)
def test_rules_that_are_refused(rule: Any, words: str) -> None:
    with pytest.raises(OptionsError, match=r"data\.groups") as refused:
        options(rule)
    assert words in str(refused.value)


# Splits that are cut


def test_whole_groups_are_cut_and_each_class_is_in_each_split(tmp_path: Path) -> None:
    manifest = load(patients(tmp_path / "d"), groups="folder:1")
    assert set(splits_of(load(tmp_path / "d"))[None]) == {"train", "val", "test"}  # without the option there are none
    assert all(len(splits) == 1 for splits in splits_of(manifest).values())
    for split in ("train", "val", "test"):
        assert {i.label for i in manifest.of(split)} == {0, 1}
    assert len(manifest.of("train")) > len(manifest.images) / 2
    cut = len({i.group for i in manifest.of("val")})
    assert any(
        "cut from train, stratified by class, by group" in n and f"({cut} for val, " in n for n in manifest.notices
    )


def test_groups_and_images_that_are_added_move_few_groups(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    before = splits_of(load(root, groups="folder:1"))
    patients(root, 20, first=40)
    for folder in root.glob("*/P*"):
        put(folder / "later.png", f"later {folder}")
    after = splits_of(load(root, groups="folder:1"))
    assert len(after) == 60
    assert all(len(splits) == 1 for splits in after.values())
    assert sum(after[group] != before[group] for group in before) <= 10  # of 40, each of which has grown


def test_a_copy_in_another_group_joins_the_two(tmp_path: Path) -> None:
    root = patients(tmp_path / "d")
    for patient in range(1, 36, 4):  # a chain through three groups, in two classes
        for other in (patient + 1, patient + 2):
            there = root / CLASSES[other % 2] / f"P{other:02d}" / f"copy of {patient}.png"
            shutil.copy(root / CLASSES[patient % 2] / f"P{patient:02d}" / "0.png", there)
    found = splits_of(load(root, groups="folder:1"))
    for patient in range(1, 36, 4):
        assert len(found[f"P{patient:02d}"] | found[f"P{patient + 1:02d}"] | found[f"P{patient + 2:02d}"]) == 1


def test_the_group_with_most_of_a_class_stays_in_train(tmp_path: Path) -> None:
    root = tmp_path / "d"
    video = next(f"video {n}" for n in range(999) if _draw(f"video {n}") < "05")  # its turn would be the first
    for n in range(12):
        put(root / "cat" / (video if n < 8 else f"other {n}") / f"{n}.png", f"cat {n}")
        put(root / "dog" / f"dog {n}" / f"{n}.png", f"dog {n}")
    manifest = load(root, groups="folder:1")
    assert splits_of(manifest)[video] == {"train"}
    assert {i.label for i in manifest.of("val")} == {i.label for i in manifest.of("test")} == {0, 1}


def test_groups_with_images_in_a_given_split_stay_in_train(tmp_path: Path) -> None:
    root = tmp_path / "d"
    held = [f"P{n}" for n in range(40) if n >= 20]
    for patient in [f"P{n}" for n in range(40)]:
        for name in CLASSES:
            put(root / "train" / name / patient / "x.png", f"{name} {patient}")
            if patient in held:
                put(root / "val" / name / patient / "x.png", f"val {name} {patient}")
    found = splits_of(load(root, groups="folder:1"))
    assert any(_draw(patient) > "da" for patient in held)  # whose turn it would be
    assert all(found[patient] == {"train", "val"} for patient in held)
    assert {"test"} in found.values()
    for patient in found.keys() - set(held):
        for name in CLASSES:
            shutil.rmtree(root / "train" / name / str(patient))
    manifest = load(root, groups="folder:1")  # then one of them has to go
    assert {i.label for i in manifest.of("test")} == {0, 1}


# Splits that were given


def image(name: str, group: str | None) -> ImageRecord:
    split: Any = name.split("/")[0]
    return ImageRecord(FilePlace.at(name), name, name, 0, split, group)


def test_groups_in_several_given_splits_are_counted_and_one_is_named() -> None:
    images = [
        *(image(f"train/{n}", group) for n, group in enumerate(["a", "a", "b", "c", None])),
        *(image(f"val/{n}", group) for n, group in enumerate(["a", "d", "e"])),
        *(image(f"test/{n}", group) for n, group in enumerate(["e", "b", None])),
    ]
    (line,) = straddling_said(images, None)
    assert "3 groups of 5 (images: 3 train, 2 val, 2 test)" in line  # a, b, e
    assert "such as 'a' with train/0 and val/0" in line
    (folded,) = straddling_said(images, 5)
    assert "2 groups of 5 (images: 1 train, 1 val, 2 test)" in folded  # b, e: folds keep a together
    assert "such as 'b' with train/2 and test/1" in folded
    ((first,),) = [straddling_said([image("val/0", "a"), image("train/0", "a"), image("test/0", "a")], 5)]
    assert "such as 'a' with val/0 and test/0" in first  # train and val are one
    assert straddling_said([i for i in images if i.split == "train"], None) == []


@pytest.mark.parametrize(
    ("level", "has", "options"),
    [
        (1, "each class is one group", {}),
        (2, "no class has more than 2 groups", {}),
        (1, "each class is one group", {"folds": 3}),
        (2, "no class has more than 2 groups", {"folds": 3}),
    ],
)
def test_of_too_few_groups_more_of_the_same_are_not_asked_for(
    tmp_path: Path, level: int, has: str, options: dict[str, Any]
) -> None:
    root = tmp_path / "d" / "train" if options else tmp_path / "d"
    for n in range(12):
        for name in CLASSES:
            put(root / name / f"all of {name}" / f"p{n % 2}" / f"{n}.png", f"{name} {n}")
        if options:
            put(tmp_path / "d" / "test" / CLASSES[n % 2] / f"{n}.png", f"test {n}")
    with pytest.raises(DataError, match=f"By data.groups {has}.*another level or pattern for data.groups") as error:
        load(tmp_path / "d", groups=f"folder:{level}", **options)
    assert "Add images" not in str(error.value)
    assert ("or take 2 folds" if options and level == 2 else "") in str(error.value)


@pytest.mark.parametrize("options", [{}, {"folds": 3}])
def test_of_too_few_groups_of_a_table_its_column_is_named(tmp_path: Path, options: dict[str, Any]) -> None:
    rows = ["path,label,patient,split" if options else "path,label,patient"]
    for n in range(24):
        put(tmp_path / f"{n}.png", str(n))
        split = ["test" if n < 4 else "train"] if options else []
        rows.append(",".join([f"{n}.png", CLASSES[n % 2], f"p{n % 2}{''.join(split)}", *split]))
    with pytest.raises(DataError, match=r"By column 'patient' each class is one group.*\(data\.columns\.group\)"):
        load(Path(table(tmp_path / "t.csv", *rows)), **options)


def test_of_too_few_groups_of_a_package_they_are_said_to_be_the_sources() -> None:
    images = [image(f"train/{n}", "a") for n in range(4)]
    assert "By the groups that the source gives each class is one group" in remedy_of_few(images, "x", "")
