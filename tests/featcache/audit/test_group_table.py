"""Copies and near copies as a table of groups: what it says, where it may lie, and that nothing straddles after it."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import TINY, write_digits
from PIL import Image
from typer.testing import CliRunner, Result

from featcache.app.main import app
from featcache.audit import audit, group_table
from featcache.audit.group_table_file import require_groups_target
from featcache.data import load_manifest
from featcache.errors import OptionsError
from featcache.options import GroupRule
from featcache.options.data_options import DataOptions
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest


def image(name: str, content: str, group: str | None = None) -> ImageRecord:
    return ImageRecord(FilePlace.at(name), name, content, 0, "train", group)


def test_copies_join_the_groups_that_were_given() -> None:
    images = (
        image("1", "aa"),
        image("2", "aa"),  # a copy without any group
        image("3", "bb", "P2"),
        image("4", "bb", "P1"),  # a copy links two patients
        image("5", "cc", "P2"),
        image("6", "dd", "P3"),
        image("7", "ee"),  # alone
    )
    table = group_table(audit(Manifest("made", Path("/made"), ("a",), images), {}))
    assert [(one.name, one.group, one.reason) for one in table] == [
        ("1", "aa", "exact copy"),
        ("2", "aa", "exact copy"),
        ("3", "P1", "exact copy, data.groups"),
        ("4", "P1", "exact copy, data.groups"),
        ("5", "P1", "data.groups"),
        ("6", "P3", "data.groups"),
    ]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare folder of digits with 12 of them encoded anew and 6 copied; a config beside it."""
    folder = tmp_path_factory.mktemp("grouped")
    root = write_digits(folder / "digits", {"": 40})
    for number, file in enumerate(sorted(root.glob("*/0*7.png")) + sorted(root.glob("*/0*3.png"))[:2]):
        if number < 12:
            Image.open(file).save(file.with_name(f"near, {file.stem}.jpg"), quality=90)
        else:
            shutil.copy(file, file.with_name(f"copy of {file.name}"))
    options = {
        "experiment_name": "grouped",
        "model": {"backbone": TINY, "input_size": 32, "pretrained": True},
        "data": {"path": str(root), "workers": 2},
        "cache": {"dir": str(folder / "cache")},
        "profile": {"iterations": 1, "warmup": 0},
    }
    (folder / "config.json").write_text(json.dumps(options))
    return folder


def look(folder: Path, *arguments: str | Path) -> Result:
    told = ["audit", folder / "config.json", "--allow-custom", "--results-dir", folder / "results", *arguments]
    return CliRunner().invoke(app, [str(a) for a in told])


def splits(folder: Path, groups: str | None) -> dict[str, str]:
    rule = GroupRule(csv=groups) if groups is not None else None
    manifest, _ = load_manifest(DataOptions(path=str(folder / "digits"), groups=rule), folder / "cache")
    return {i.name: i.split for i in manifest.images}


def test_after_the_round_trip_no_near_copies_are_in_two_splits(planted: Path) -> None:
    file = planted / "groups.csv"
    done = look(planted, "--write-groups", file)
    assert done.exit_code == 0, done.output
    assert f"--set data.groups=csv:{file}" in done.output.replace("\n", "")
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    (report,) = (planted / "results" / "audit").glob("*.json")
    found = json.loads(report.read_text())
    listed = {i["name"] for kind in ("exact", "near") for group in found[kind] for i in group["images"]}
    assert {row["path"] for row in rows} == listed
    assert len(found["near"]) >= 10  # of 12
    before, after = splits(planted, None), splits(planted, str(file))
    families = defaultdict(set)
    for row in rows:
        families[row["group"]].add(row["path"])
    assert sum(len({before[name] for name in own}) > 1 for own in families.values()) > 3  # else it shows nothing
    assert all(len({after[name] for name in own}) == 1 for own in families.values())
    others = [(before[name], after[name]) for name in before.keys() - listed if before[name] != after[name]]
    assert len(others) <= 5  # of 200 or so: the shares are kept, for which few make room
    assert all("train" in pair for pair in others)
    look(planted, "--set", f"data.groups=csv:{file}")
    later = [json.loads(p.read_text()) for p in (planted / "results" / "audit").glob("*.json") if p != report]
    assert all(not group["across_splits"] for group in later[0]["near"])
    assert later[0]["near"]  # they are there still


def test_a_table_that_is_in_use_is_written_anew_with_what_it_says(planted: Path) -> None:
    file = planted / "in use.csv"
    names = sorted(splits(planted, None))
    file.write_text(f"path,group,reason\n{names[0]},mine,\n{names[1]},mine,\n")
    done = look(planted, "--write-groups", file, "--set", f"data.groups=csv:{file}")
    assert done.exit_code == 0, done.output
    with file.open(newline="") as stream:
        rows = {row["path"]: row["group"] for row in csv.DictReader(stream)}
    assert rows[names[0]] == rows[names[1]] == "mine"
    assert len(rows) > 20


def test_where_the_table_may_not_go(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    other = tmp_path / "other.csv"
    for text in ("path,group,reason\n", "path,group\n", "a novel\n"):
        other.write_text(text)
        with pytest.raises(OptionsError, match="is there already"):
            require_groups_target(other, [data], GroupRule(csv=str(tmp_path / "another.csv")))
        assert other.read_text() == text
    with pytest.raises(OptionsError, match="lies in the data folder"):
        require_groups_target(data / "g.csv", [data], None)
    with pytest.raises(OptionsError, match="is a folder"):
        require_groups_target(tmp_path, [data], None)
    require_groups_target(tmp_path / "new.csv", [data], None)
    assert not (tmp_path / "new.csv").exists()
