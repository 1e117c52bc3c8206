"""What the paths in a table are below (data.root): a folder, or any other source, whose images it then names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import done
from conftest import TINY
from source_makers import arrow_table, contents, load, make_arrow, make_csv, make_parquet, make_tar, make_zip, pictured

from featcache.data import load_manifest
from featcache.data.file_formats import READER
from featcache.errors import DataError
from featcache.extraction.one_backbone import extract
from featcache.options import DataOptions
from featcache.options.loading import parse_options

Files = list[tuple[str, bytes]]


def _shards(to: Path, files: Files) -> str:
    for split in ("train", "val", "test"):
        make_tar(to / f"s-{split}.tar", [(n, d) for n, d in files if n.startswith(split)])
    return f"{to}/s-{{train,val,test}}.tar"


def _saved(root: Path, folder: Path) -> str:
    root.mkdir()
    (root / "state.json").write_text("{}")
    them = pictured(folder)
    make_arrow(root / "data-00000-of-00002.arrow", arrow_table(them[:50]))
    make_arrow(root / "data-00001-of-00002.arrow", arrow_table(them[50:]))
    return str(root)


def _samples(to: Path, files: Files) -> str:
    labels = [(f"{name[:-4]}.cls", b"of the shard") for name, _ in files]
    return str(make_tar(to / "x.tar", [*files, *labels]))


# Kind -> what data.root is, of files and their folder; none needs labels of its own.
ROOTS: dict[str, Callable[[Path, Path, Files], str]] = {
    "zip": lambda to, folder, files: str(make_zip(to / "x.zip", files)),
    "zip by its kind": lambda to, folder, files: f"zip:{make_zip(to / 'x.bin', files)}",
    "zip of a folder": lambda to, folder, files: str(make_zip(to / "x.zip", files, "a folder/deep/")),
    "tar": lambda to, folder, files: str(make_tar(to / "x.tar", files, "./")),
    "tar.gz": lambda to, folder, files: str(make_tar(to / "x.tar.gz", files)),
    "shards": lambda to, folder, files: _shards(to, files),
    "samples": lambda to, folder, files: _samples(to, files),
    "parquet": lambda to, folder, files: str(make_parquet(to / "x.parquet", arrow_table(pictured(folder)))),
    "parquet without labels": lambda to, folder, files: str(
        make_parquet(to / "x.parquet", arrow_table(pictured(folder)).select(["image"]))
    ),
    "arrow": lambda to, folder, files: str(make_arrow(to / "x.arrow", arrow_table(pictured(folder)))),
    "saved by datasets": lambda to, folder, files: _saved(to / "saved", folder),
    "folder of a table": lambda to, folder, files: str(
        make_csv(folder / "metadata.csv", ["file_name", "label"], [[name, "x"] for name, _ in files]).parent
    ),
    "folder by its kind": lambda to, folder, files: f"folder:{folder}",
}


def _label(name: str) -> str:
    return "odd" if int(name[-5]) % 2 else "even"


def _table(file: Path, names: list[str]) -> Path:
    """Labels that no source has: by the number of each file."""
    return make_csv(file, ["path", "label", "split"], [[name, _label(name), name.split("/")[0]] for name in names])


@pytest.mark.parametrize("kind", ROOTS)
def test_a_table_names_images_of_any_source(digits: Path, tmp_path: Path, kind: str) -> None:
    files = [(one.name, one.data) for one in pictured(digits)]
    names = [name for name, _ in files][10:]
    expected = load(_table(tmp_path / "t.csv", names), tmp_path / "cache", root=str(digits))
    found = load(tmp_path / "t.csv", tmp_path / "cache", root=ROOTS[kind](tmp_path, digits, files))
    assert len(found.images) == 74 and found.classes == ("even", "odd")
    assert contents(found) == contents(expected) and found.fingerprint == expected.fingerprint
    assert [one.place.read() for one in found.images] == [one.place.read() for one in expected.images]
    assert ("10 images of" in "; ".join(found.notices)) == (not kind.startswith("folder"))


def test_rows_of_an_archive_that_a_table_names_are_those_of_the_folder(
    config: Callable[..., dict[str, Any]], digits: Path, tmp_path: Path
) -> None:
    model: dict[str, Any] = {"backbone": TINY, "pretrained": True}
    extract(parse_options(config(model=model)), allow_custom=True)
    files = [(one.name, one.data) for one in pictured(digits)]
    data = {
        "path": str(_table(tmp_path / "t.csv", [n for n, _ in files])),
        "root": ROOTS["zip"](tmp_path, digits, files),
    }
    model["classifier_dims"] = ["auto", 16, 2]
    again = extract(parse_options(config(model=model, data=data)), allow_custom=True)
    assert (again.new, again.reused) == (0, 84)


def test_names_as_tables_spell_them(digits: Path, tmp_path: Path) -> None:
    files = [(f"{n:03d}.png", one.data) for n, one in enumerate(pictured(digits))]
    root = str(make_zip(tmp_path / "x.zip", [(f"images/{name}", data) for name, data in files]))
    expected = {f"images/{name}" for name, _ in files}
    for spelt in ("images/{}", ".\\images\\{}", "{}", "/home/me/pictures/{}", "images/../images/{}"):
        rows = [[spelt.format(name), f"class {n % 2}"] for n, (name, _) in enumerate(files)]
        found = load(make_csv(tmp_path / "t.csv", ["path", "label"], rows), tmp_path / "cache", root=root)
        assert {i.name for i in found.images} == expected, spelt
    stems = [[name[:-4], f"class {n % 2}"] for n, (name, _) in enumerate(files)]
    found = load(make_csv(tmp_path / "t.csv", ["id", "label"], stems), tmp_path / "cache", root=root)
    assert {i.name for i in found.images} == expected
    assert "without its ending" in "; ".join(found.notices)


def test_names_that_are_not_there_are_quarantined_and_none_there_is_an_error(digits: Path, tmp_path: Path) -> None:
    files = [(one.name, one.data) for one in pictured(digits)]
    root = str(make_zip(tmp_path / "x.zip", files))
    there = [name for name, _ in files]
    gone = ["train/gone/901.png", "../../etc/902.png"]
    table = _table(tmp_path / "t.csv", there)
    make_csv(tmp_path / "u.csv", ["path", "label", "split"], [[n, _label(n), "train"] for n in [*there, *gone]])
    manifest, memo = load_manifest(DataOptions(path=str(tmp_path / "u.csv"), root=root), tmp_path / "cache")
    bad = {i.name: reason for i in manifest.images if (reason := memo.bad_reason(i.sha256, READER))}
    assert set(bad) == set(gone) and all("no such image in" in reason and root in reason for reason in bad.values())
    _table(table, gone)
    with pytest.raises(DataError) as refused:
        load(table, tmp_path / "cache", root=root)
    message = str(refused.value)
    assert f"{table}: none of its images is in {root}" in message and repr(gone[0]) in message
    assert "its 84 files, such as 't" in message and "data.root" in message


@pytest.mark.parametrize("root", ["nowhere.zip", "neither:x", "broken.zip", "notes.doc"])
def test_a_root_that_cannot_be_used_is_told_as_such(digits: Path, tmp_path: Path, root: str) -> None:
    for name in ("broken.zip", "notes.doc"):
        (tmp_path / name).write_bytes(b"text")
    table = _table(tmp_path / "t.csv", ["train/digit 0/000.png"])
    with pytest.raises(DataError, match=rf"^data\.root: .*{root}"):
        load(table, tmp_path / "cache", root=root if ":" in root else str(tmp_path / root))


def test_arrays_and_the_demo_are_roots_too(digits: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(40) % 4)
    table = tmp_path / "t.csv"
    done("split", tmp_path / "x.npz", "--out", table, "--cache-dir", tmp_path / "cache")
    made = load(tmp_path / "x.npz", tmp_path / "cache")
    assert load(table, tmp_path / "cache", root=str(tmp_path / "x.npz")).fingerprint == made.fingerprint
    done("split", "demo:digits", "--out", tmp_path / "d.csv", "--cache-dir", tmp_path / "cache")
    assert len(load(tmp_path / "d.csv", tmp_path / "cache", root="demo:digits").images) == 720


# --- paths


def test_whole_paths_need_no_root(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    names = [one.name for one in pictured(digits)]
    rows = [[str(digits / name), _label(name), name.split("/")[0]] for name in names]
    table = make_csv(tmp_path / "tables" / "t.csv", ["path", "label", "split"], rows)
    found = load(table, tmp_path / "cache")
    assert [i.place.read() for i in found.images] == [(Path("/") / i.name).read_bytes() for i in found.images]
    assert len(found.images) == 84


def test_a_table_in_a_folder_beside_that_of_the_images_finds_them(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "labels" / "deep").mkdir(parents=True)
    names = [one.name for one in pictured(digits)]
    rows = [[f"digits/{name}", _label(name), name.split("/")[0]] for name in names]
    table = make_csv(tmp_path / "labels" / "deep" / "t.csv", ["path", "label", "split"], rows)
    found = load(table, tmp_path / "cache")
    assert len(found.images) == 84 and found.images[0].name.startswith("digits/train/")
    assert f"paths of t.csv are below {tmp_path}, a folder above it" in "; ".join(found.notices)
    rows[3][0] = "digits/train/gone.png"  # not all of them: no guess
    with pytest.raises(DataError, match=r"none of its files is there.* data\.root"):
        load(make_csv(table, ["path", "label", "split"], rows), tmp_path / "cache")


def test_a_file_has_one_name_whichever_way_leads_to_it(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    names = [one.name for one in pictured(digits)]
    rows = [[f"../digits/{name}", _label(name), name.split("/")[0]] for name in names]
    rows.append([f"../digits/val/../{names[0]}", _label(names[0]), names[0].split("/")[0]])
    table = make_csv(tmp_path / "tables" / "t.csv", ["path", "label", "split"], rows)
    found = load(table, tmp_path / "cache")
    assert {i.name for i in found.images} == {f"../digits/{name}" for name in names}
    assert "there twice and read once" in "; ".join(found.notices)
    make_csv(table, ["path", "label", "split"], [*rows[:-1], [rows[-1][0], "another", rows[-1][2]]])
    with pytest.raises(DataError, match="'another' in line 86"):
        load(table, tmp_path / "cache")


# --- what `split` writes, and how it says to use it


def _used(output: str, cache: Path) -> DataOptions:
    """The data that the printed line names."""
    import shlex

    (line,) = [one for one in output.splitlines() if one.startswith("Use it with ")]
    words = shlex.split(line.removeprefix("Use it with "))
    assert words[::2] == ["--set"] * (len(words) // 2)
    return DataOptions(**{word.removeprefix("data.").partition("=")[0]: word.partition("=")[2] for word in words[1::2]})


@pytest.mark.parametrize("kind", ["zip of a folder", "zip by its kind", "tar.gz", "samples", "parquet"])
def test_a_split_of_any_source_is_read_by_the_line_that_it_says(digits: Path, tmp_path: Path, kind: str) -> None:
    them = pictured(digits)
    root = ROOTS[kind](tmp_path, digits, [(one.name, one.data) for one in them])
    if kind == "samples":
        labels = [(f"{one.name[:-4]}.cls", one.label.encode()) for one in them]
        make_tar(Path(root), [*((one.name, one.data) for one in them), *labels])
    out, cache = tmp_path / "a split.csv", tmp_path / "cache"
    said = done("split", root, "--out", out, "--cache-dir", cache)
    used = _used(said.stdout, cache)
    assert used.root == root and used.path == str(out)
    before, (after, _) = load(root, cache), load_manifest(used, cache)
    assert after.fingerprint == before.fingerprint and contents(after) == contents(before)
    again = done("split", out, "--set", f"data.root={root}", "--out", tmp_path / "again.csv", "--cache-dir", cache)
    assert _used(again.stdout, cache).root == root
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("out", "root"), [("digits/t.csv", False), ("digits/train/digit 0/t.csv", False), ("t.csv", True)]
)
def test_a_split_within_the_folder_needs_no_root(digits: Path, tmp_path: Path, out: str, root: bool) -> None:
    before = load(digits, tmp_path / "cache")
    said = done("split", digits, "--out", tmp_path / out, "--cache-dir", tmp_path / "cache")
    used = _used(said.stdout, tmp_path / "cache")
    assert used.root == (str(digits) if root else None)
    assert load_manifest(used, tmp_path / "cache")[0].fingerprint == before.fingerprint


def test_a_split_where_names_would_be_taken_for_others_says_its_root(digits: Path, tmp_path: Path) -> None:
    inside = digits / "train" / "digit 0" / "deep"
    shutil.copytree(digits / "val", inside / "val")
    before = load(digits, tmp_path / "cache")
    said = done("split", digits, "--out", inside / "t.csv", "--cache-dir", tmp_path / "cache")
    used = _used(said.stdout, tmp_path / "cache")
    assert used.root == str(digits)
    assert load_manifest(used, tmp_path / "cache")[0].fingerprint == before.fingerprint


def test_a_split_of_files_here_and_there_is_the_same_data(digits: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.png"
    shutil.copy(digits / "test" / "digit 0" / "000.png", elsewhere)
    names = [one.name for one in pictured(digits)]
    rows = [[name, _label(name), name.split("/")[0]] for name in names]
    table = make_csv(digits / "t.csv", ["path", "label", "split"], [*rows, [str(elsewhere), "odd", "train"]])
    before = load(table, tmp_path / "cache")
    said = done("split", table, "--out", tmp_path / "u.csv", "--cache-dir", tmp_path / "cache")
    used = _used(said.stdout, tmp_path / "cache")
    assert load_manifest(used, tmp_path / "cache")[0].fingerprint == before.fingerprint


@pytest.mark.parametrize(("out", "root"), [("tables/v.csv", None), ("digits/v.csv", "/")])
def test_a_split_of_whole_paths_is_the_same_data(digits: Path, tmp_path: Path, out: str, root: str | None) -> None:
    (tmp_path / "tables").mkdir()
    rows = [[str(digits / one.name), one.label, one.split] for one in pictured(digits)]
    table = make_csv(tmp_path / "tables" / "t.csv", ["path", "label", "split"], rows)
    before = load(table, tmp_path / "cache")
    said = done("split", table, "--out", tmp_path / out, "--cache-dir", tmp_path / "cache")
    used = _used(said.stdout, tmp_path / "cache")
    assert used.root == root
    assert load_manifest(used, tmp_path / "cache")[0].fingerprint == before.fingerprint
