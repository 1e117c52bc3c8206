"""Parquet and Arrow, and what the `datasets` library writes: bytes read where they lie, classes by their names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from source_makers import Pictured, arrow_table, contents, load, make_arrow, make_parquet

from featcache.data import load_manifest
from featcache.data.file_formats import READER
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import Manifest

SPLITS = ("train", "val", "test")
THEM = [
    Pictured(f"{split}/{label}/{n}.png", f"{split} {label} {n}".encode(), label, split)
    for n in range(4)
    for split in SPLITS
    for label in ("cat", "dog")
]
EXPECTED = {(one.name, one.label, one.split) for one in THEM}


def named(manifest: Manifest) -> set[tuple[str, str, str]]:
    return {(name, label, split) for name, _, label, split in contents(manifest)}


@pytest.mark.parametrize("library", [True, False])
def test_a_saved_data_set(tmp_path: Path, library: bool) -> None:
    """`save_to_disk`: a folder for each split, Arrow files, classes by number; and the same as Parquet on a hub."""
    root = tmp_path / "set"
    for split, folder in zip(SPLITS, ("train", "validation", "test"), strict=True):
        own = arrow_table([one for one in THEM if one.split == split], split=False)
        place = root / folder if library else root / "data"
        place.mkdir(parents=True, exist_ok=True)
        if library:
            make_arrow(place / "data-00000-of-00001.arrow", own)
            (place / "state.json").write_text("{}")
        else:
            make_parquet(place / f"{folder}-00000-of-00001.parquet", own)
    (root / ("dataset_dict.json" if library else "README.md")).write_text("{}")
    manifest = load(root, tmp_path / "cache")
    assert named(manifest) == EXPECTED
    assert {i.place.read() for i in manifest.images} == {one.data for one in THEM}
    assert any("columns of 3 tables" in line for line in manifest.notices)
    assert not any("read as one data set" in line for line in manifest.notices)


def test_folders_of_tables_that_may_be_two_configurations_are_said(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for folder in ("default", "other"):
        (root / folder).mkdir(parents=True)
        own = [one._replace(name=f"{folder}/{one.name}") for one in THEM]
        make_parquet(root / folder / "train-00000-of-00001.parquet", arrow_table(own))
    manifest = load(root, tmp_path / "cache")
    assert len(manifest.images) == 2 * len(THEM)
    assert manifest.notices[0].startswith("tables of 2 folders ('default', 'other') are read as one data set")
    assert len(load(root / "other", tmp_path / "cache").images) == len(THEM)


def test_what_was_saved_before_is_no_part_of_a_saved_data_set(tmp_path: Path) -> None:
    """A data set that is saved again with fewer shards leaves files of the one before."""
    make_arrow(tmp_path / "data-00000-of-00001.arrow", arrow_table(THEM))
    make_arrow(
        tmp_path / "data-00001-of-00002.arrow", arrow_table([one._replace(name=f"old/{one.name}") for one in THEM])
    )
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    assert named(load(tmp_path, tmp_path / "cache")) == EXPECTED


@pytest.mark.parametrize("write", [make_parquet, make_arrow])
@pytest.mark.parametrize("paths", ["none", "of several alike", "plain bytes"])
def test_images_without_names_of_their_own_are_numbered(tmp_path: Path, write: Any, paths: str) -> None:
    cells: list[Any] = [
        one.data if paths == "plain bytes" else {"bytes": one.data, "path": "x.png" if paths != "none" else None}
        for one in THEM
    ]
    table = pyarrow.table({"label": [o.label for o in THEM], "img": cells, "split": [o.split for o in THEM]})
    manifest = load(write(tmp_path / "some.parquet", table), tmp_path / "cache")
    by_number = {int(i.name.removeprefix("some/")): i for i in manifest.images}
    assert [by_number[n].place.read() for n in range(len(THEM))] == [one.data for one in THEM]
    assert [manifest.classes[by_number[n].label] for n in range(len(THEM))] == [one.label for one in THEM]


def test_paths_in_parquet(tmp_path: Path) -> None:
    """A table of paths; and an image feature whose bytes are all outside."""
    for one in THEM:
        (tmp_path / one.name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one.name).write_bytes(one.data)
    plain = {"label": [o.label for o in THEM], "split": [o.split for o in THEM]}
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    outside = pyarrow.array([{"bytes": None, "path": o.name} for o in THEM], kind)
    for column in (pyarrow.array([o.name for o in THEM]), outside):
        file = make_parquet(tmp_path / "t.parquet", pyarrow.table({"image": column, **plain}))
        manifest = load(file, tmp_path / "cache")
        assert named(manifest) == EXPECTED
        assert {i.place.read() for i in manifest.images} == {one.data for one in THEM}


@pytest.mark.parametrize("write", [make_parquet, make_arrow])
@pytest.mark.parametrize("alike", [False, True])
def test_a_cell_without_bytes_is_read_by_its_path(tmp_path: Path, write: Any, alike: bool) -> None:
    """As `datasets` writes those that it did not embed; without a path, or a file there, they are set aside."""
    table = arrow_table(THEM)
    cells = table.column("image").to_pylist()
    for n in (3, 5):
        cells[n]["bytes"] = None
    cells[8] = {"bytes": None, "path": None}
    if alike:  # so that those with bytes are called by their rows
        cells[0]["path"] = cells[1]["path"]
    table = table.set_column(0, "image", pyarrow.array(cells, table.schema.field("image").type))
    file = write(tmp_path / "t.parquet", table)
    (tmp_path / THEM[3].name).parent.mkdir(parents=True)

    def loaded() -> tuple[dict[str, str], set[bytes]]:
        manifest, memo = load_manifest(DataOptions(path=str(file)), tmp_path / "cache")
        bad = {i.name: memo.bad_reason(i.sha256, READER) for i in manifest.images if memo.bad_reason(i.sha256, READER)}
        return bad, {i.place.read() for i in manifest.images if i.name not in bad}

    missing = "the table names it, and there is no such file"
    none = {"t/0000008": "there are no bytes in row 9, and no path"}
    assert loaded()[0] == {THEM[3].name: missing, THEM[5].name: missing, **none}
    (tmp_path / THEM[3].name).write_bytes(THEM[3].data)
    bad, read = loaded()
    assert bad == {THEM[5].name: missing, **none}
    assert read == {one.data for n, one in enumerate(THEM) if n not in {5, 8}}
    (tmp_path / THEM[3].name).write_bytes(b"changed")
    assert b"changed" in loaded()[1]


def test_class_numbers_that_stand_for_nothing(tmp_path: Path) -> None:
    """-1 is what `datasets` gives an image without a class; any other number without a name is a fault."""
    table = arrow_table(THEM)
    numbers = table.column("label").to_pylist()
    for number, words in ((-1, "1 row without a label left out, such as row 4"), (2, "row 4 has the class 2")):
        numbers[3] = number
        changed = table.set_column(1, "label", pyarrow.array(numbers))
        file = make_parquet(tmp_path / "t.parquet", changed.replace_schema_metadata(table.schema.metadata))
        if number < 0:
            manifest = load(file, tmp_path / "cache")
            assert named(manifest) == EXPECTED - {(THEM[3].name, THEM[3].label, THEM[3].split)}
            assert words in "; ".join(manifest.notices)
        else:
            with pytest.raises(DataError, match=words):
                load(file, tmp_path / "cache")


def test_a_row_group_is_read_once_for_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_parquet(tmp_path / "t.parquet", arrow_table(THEM))
    reads: list[int] = []
    read = parquet.ParquetFile.read_row_group

    def counting(self: Any, group: int, *args: Any, **how: Any) -> Any:
        reads.append(group)
        return read(self, group, *args, **how)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", counting)
    manifest = load(file, tmp_path / "cache")
    for image in sorted(manifest.images, key=lambda i: i.place.position):
        image.place.read()
    assert sorted(reads) == [0, 1, 2, 3]


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = make_parquet(tmp_path / "t.parquet", arrow_table(THEM))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("featcache.data.file_formats.installed", lambda packages: {})
    with pytest.raises(DataError, match=r"pip install 'featcache\[tables\]'"):
        load(file, tmp_path / "cache")
