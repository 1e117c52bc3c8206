"""`featcache predict` as a user runs it: what it prints and writes, copies, flags, and what it says of bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from command_runs import done, featcache
from conftest import TINY, write_digits
from scipy.stats import entropy
from typer.testing import CliRunner

from featcache.app.main import app

Say = Callable[..., list[dict[str, str]]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits and two runs on them, one of which is better."""
    root = tmp_path_factory.mktemp("predict")
    write_digits(root / "digits", {"train": 12, "val": 5, "test": 4})
    for name, epochs in (("worse", 1), ("better", 40)):
        config: dict[str, Any] = {
            "experiment_name": name,
            "model": {"backbone": TINY, "classifier_dims": ["auto", 16, 4], "pretrained": True},
            "data": {"path": str(root / "digits"), "batch_size": 16, "workers": 2},
            "training": {"epochs": epochs, "learning_rate": 0.02},
            "cache": {"dir": str(root / "cache"), "batch_size": 8},
            "profile": {"iterations": 2, "warmup": 1},
        }
        (root / f"{name}.json").write_text(json.dumps(config))
        done("train", root / f"{name}.json", "--results-dir", root / "results", "--allow-custom", "-q")
    return root


def flags(place: Path) -> list[str | Path]:
    return ["--results-dir", place / "results", "--allow-custom", "-q"]


@pytest.fixture
def rows(place: Path) -> Say:
    def predict(*arguments: str | Path) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(done("predict", *arguments, *flags(place)).stdout)))

    return predict


def test_a_run_is_named_by_its_folder_its_name_its_place_or_best(place: Path, rows: Say) -> None:
    image = place / "digits" / "test" / "digit 2" / "001.png"
    ways = [rows(run, image) for run in (place / "results" / "better", "better", "best", "1")]
    assert ways[0] == ways[1] == ways[2] == ways[3] != rows("2", image) == rows("worse", image)
    assert ways[0][0]["image"] == str(image)


def test_files_folders_globs_archives_and_lists_mean_the_same_images(
    place: Path, rows: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place / "digits" / "test" / "digit 1"
    files = sorted(folder.iterdir())
    (tmp_path / "images.txt").write_text("".join(f"{f}\n" for f in files))
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for file in files:
            archive.write(file, f"deep/{file.name}")
        archive.writestr("__MACOSX/._000.png", b"junk")
        archive.writestr("read me.txt", b"junk")
    expected = [(row["class"], row["probability"]) for row in rows("best", *files)]
    assert len(expected) == 4
    for named in (folder, place / "digits" / "te*" / "digit 1" / "*.png", tmp_path / "some.zip"):
        assert [(row["class"], row["probability"]) for row in rows("best", named)] == expected
    assert len(rows("best", folder, *files, str(folder / "*.png"))) == 4  # each once
    listed = CliRunner().invoke(
        app, ["predict", "best", "-", *map(str, flags(place))], input=(tmp_path / "images.txt").read_text()
    )
    assert [row["probability"] for row in csv.DictReader(io.StringIO(listed.stdout))] == [p for _, p in expected]


def test_every_format_says_the_same(place: Path, rows: Say, tmp_path: Path) -> None:
    asked = ("best", place / "digits" / "test", "--top", "3")
    flat = rows(*asked)
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        done("predict", *asked, "--out", tmp_path / name, *flags(place))
    assert list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text()))) == flat
    nested = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(flat) == len(nested) == len(table) == 16
    for line, record, cells in zip(flat, nested, table, strict=True):
        assert line["image"] == record["image"] == cells["image"]
        assert line["class_3"] == record["top"][2]["class"] == cells["class_3"]
        assert float(line["probability"]) == pytest.approx(record["top"][0]["probability"], rel=1e-5)
        assert cells["probability_2"] == record["top"][1]["probability"]
        assert (line["unlike_training"] == "true") is record["unlike_training"] is cells["unlike_training"]
    image = next((place / "digits" / "test").rglob("*.png"))
    every = done("predict", "best", image, "--top", "9", "--format", "jsonl", *flags(place))
    assert sum(one["probability"] for one in json.loads(every.stdout)["top"]) == pytest.approx(1)


def test_what_cannot_be_read_is_listed_and_the_rest_is_done(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "digits" / "test" / "digit 3", tmp_path / "some")
    (tmp_path / "some" / "torn\x1b[2J.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    result = featcache("predict", "best", tmp_path / "some", "--out", tmp_path / "all.csv", *flags(place))
    assert result.exit_code == 1
    assert "1 image could not be read, the rest is done" in result.stderr
    assert r"torn\x1b[2J.png (" in result.stderr  # which a terminal would have cleared itself by
    found = {Path(row["image"]).name: row for row in csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text()))}
    assert len(found) == 5
    torn = found[r"torn\x1b[2J.png"]  # nor is a cell of the table anything but text
    assert torn["class"] == "" and torn["error"]
    assert found["000.png"]["error"] == ""


def test_a_list_may_name_what_is_not_there_and_an_argument_may_not(place: Path, tmp_path: Path) -> None:
    there = place / "digits" / "test" / "digit 3" / "000.png"
    listed = CliRunner().invoke(app, ["predict", "best", "-", *map(str, flags(place))], input=f"gone.png\n{there}\n\n")
    assert listed.exit_code == 1
    assert [bool(row["error"]) for row in csv.DictReader(io.StringIO(listed.stdout))] == [True, False]
    (tmp_path / "empty").mkdir()
    for name, said in (("gone.png", "no such file"), ("*.x", "no file matches"), ("empty", "no images in it")):
        result = featcache("predict", "best", there, tmp_path / name, *flags(place))
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stdout == ""


def test_a_name_that_is_no_utf_8_is_the_same_in_every_way(place: Path, rows: Say, tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        shutil.copy(place / "digits" / "test" / "digit 3" / "000.png", tmp_path / name)
    except OSError:
        pytest.skip("this file system has no such names")
    shown = [str(tmp_path / r"\xff.png")]
    for asked in (tmp_path, tmp_path / name, tmp_path / "*.png"):
        assert [row["image"] for row in rows("best", asked)] == shown
    done("predict", "best", tmp_path / name, "--out", tmp_path / "a.parquet", *flags(place))
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet")["image"].to_pylist() == shown


def test_what_a_place_stands_for_is_said_unless_it_is_asked_for_quietly(place: Path) -> None:
    image = place / "digits" / "test" / "digit 2" / "001.png"
    for wanted, quiet, said in (("best", 0, "best: better,"), ("2", 0, "rank 2: worse,"), ("best", 1, "")):
        told = done("predict", wanted, image, *flags(place)[: 3 + quiet]).stderr
        assert (said in told) if said else ("better" not in told)


def test_an_archive_that_leads_outside_is_refused_by_its_own_name(place: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../000.png", b"")
    result = featcache("predict", "best", tmp_path / "out.zip", *flags(place))
    assert result.exit_code == 2
    assert f"featcache: {tmp_path / 'out.zip'}: its member '../000.png'" in result.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--out", "x.xlsx"], "its ending says no format. Expected csv, jsonl or parquet"),
        (["--format", "yaml"], "expected csv, jsonl, parquet"),
        (["--format", "parquet"], "Name it with --out"),
        (["--uncertain", "3", "--by", "luck"], "expected margin or entropy"),
        (["--copy-to", "{digits}/sorted"], "Choose a place outside"),
        (["--out", "{digits}", "--format", "csv"], "is a folder"),
        (["--out", "n" * 300 + ".csv"], "cannot be written (File name too long)"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(place: Path, given: list[str], said: str) -> None:
    arguments = [one.format(digits=place / "digits") for one in given]
    result = featcache("predict", "best", place / "digits", *arguments, *flags(place))
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not (place / "digits" / "sorted").exists()


def test_no_run_of_that_name_is_an_error_that_says_what_there_could_be(place: Path) -> None:
    for wanted, said in (("third", "Expected a run's folder or name, 'best'"), ("3", "has 2 runs")):
        result = featcache("predict", wanted, place / "digits", *flags(place))
        assert result.exit_code == 2
        assert said in result.stderr


def test_copies_go_to_folders_of_classes_and_nothing_is_overwritten(place: Path, rows: Say, tmp_path: Path) -> None:
    test = place / "digits" / "test"
    found = rows("best", test, "--copy-to", tmp_path / "sorted")
    copies = sorted(p for p in (tmp_path / "sorted").rglob("*") if p.is_file())
    assert len(copies) == 16  # files of one name in several folders are all there
    for row in found:
        same = [c for c in copies if c.read_bytes() == Path(row["image"]).read_bytes()]
        assert [c.parent.name for c in same] == [row["class"]]
    before = {copy: copy.stat().st_mtime_ns for copy in copies}
    again = featcache("predict", "best", test, "--copy-to", tmp_path / "sorted", *flags(place))
    assert "0 copied, 16 there already" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "sorted").rglob("*") if p.is_file()} == before


def test_the_least_sure_come_first(place: Path, rows: Say) -> None:
    every = rows("best", place / "digits", "--top", "4", "--false-alarms", "0")
    chances = {row["image"]: [float(row[f"probability{end}"]) for end in ("", "_2", "_3", "_4")] for row in every}
    margin = sorted(chances, key=lambda image: chances[image][0] - chances[image][1])
    unsure = sorted(chances, key=lambda image: -entropy(chances[image]))
    for by, order in (("margin", margin), ("entropy", unsure)):
        assert [row["image"] for row in rows("best", place / "digits", "--uncertain", "5", "--by", by)] == order[:5]
    assert margin[:5] != unsure[:5]


def test_noise_is_flagged_unless_told_otherwise(place: Path, rows: Say, tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (row,) = rows("best", tmp_path / "noise.png")
    assert row["unlike_training"] == "true"
    assert float(row["as_far"]) == pytest.approx(1 / 21, rel=1e-4)
    (row,) = rows("best", tmp_path / "noise.png", "--false-alarms", "0")
    assert row["unlike_training"] == row["as_far"] == ""
    result = done("predict", "best", tmp_path / "noise.png", "--false-alarms", "0.01", *flags(place))
    assert "Nothing is flagged" in result.stderr
    assert "20 validation images can vouch for a rate of false alarms of 4.8%" in result.stderr


@pytest.mark.slow
def test_a_reader_who_stops_reading_is_no_fault(place: Path) -> None:
    command = [sys.executable, "-m", "featcache", "predict", "best", place / "digits", *flags(place)]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.close()
    said = process.communicate()[1]
    assert (process.returncode, said) == (141, b"")
