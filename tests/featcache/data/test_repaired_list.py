"""Broken files that were read are listed and said, and count as read; without their end, only where that is allowed."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from made_images import chunk, saved, with_chunk
from PIL import Image

from featcache.data import READER, HashMemo, load_manifest
from featcache.extraction import extract
from featcache.options import Options
from featcache.options.loading import parse_options

Config = Callable[..., dict[str, Any]]


@pytest.fixture
def broken(digits: Path) -> Path:
    """The digits, one of them without its last bytes, one with a broken EXIF, one with two pages."""
    cut, odd, paged = (digits / "train" / "digit 0" / f"00{i}.png" for i in range(3))
    image = Image.open(cut).convert("RGB").resize((60, 60))
    cut.write_bytes(saved(image, "BMP")[:-30])
    odd.write_bytes(with_chunk(odd.read_bytes(), chunk(b"eXIf", b"nothing of the kind")))
    paged.write_bytes(saved(Image.open(paged), "TIFF", save_all=True, append_images=[image.convert("L")]))
    return digits


def options_of(config: Config, **data: Any) -> Options:
    return parse_options(config(model={"backbone": TINY, "pretrained": True}, data={"max_bad_fraction": 0.0, **data}))


def listed(options: Options, folder: str) -> dict[str, str]:
    files = list((Path(options.cache.dir) / folder).glob("*.csv"))
    if not files:
        return {}
    with files[0].open(newline="", encoding="utf-8") as stream:
        return {row[0]: row[1] for row in list(csv.reader(stream))[1:]}


def test_they_are_read_listed_and_said_once(config: Config, broken: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = options_of(config)
    done = extract(options, allow_custom=True)
    assert not done.bad and done.new == 84
    assert listed(options, "repaired") == {
        "train/digit 0/000.png": "its end is missing, and with it 1.7% of its pixels",
        "train/digit 0/001.png": "its EXIF cannot be read: shown as it is stored",
    }
    said = [record.getMessage() for record in caplog.records]
    assert sum("2 of 84 files broken, and read in spite of it (train/digit 0/000.png" in s for s in said) == 1
    assert sum("1 of 84 files with several pages or frames, such as train/digit 0/002.png (2)" in s for s in said) == 1
    caplog.clear()
    again = extract(options, allow_custom=True)  # nothing is decoded, and it is known
    assert again.new == 0 and len(listed(options, "repaired")) == 2


def test_what_is_mended_is_no_longer_listed(config: Config, broken: Path) -> None:
    options = options_of(config)
    extract(options, allow_custom=True)
    for i in range(2):
        Image.new("L", (40, 40), 9 * i).save(broken / "train" / "digit 0" / f"00{i}.png")
    extract(options, allow_custom=True)
    assert listed(options, "repaired") == {}


def test_without_its_end_it_is_bad_where_that_is_asked_for(config: Config, broken: Path) -> None:
    options = options_of(config, truncated="quarantine", max_bad_fraction=0.1)
    done = extract(options, allow_custom=True)
    assert [b.name for b in done.bad] == ["train/digit 0/000.png"]
    assert set(listed(options, "quarantine")) == {"train/digit 0/000.png"}
    assert set(listed(options, "repaired")) == {"train/digit 0/001.png"}


@pytest.mark.parametrize("memo_lost", [False, True])
def test_it_is_bad_even_where_its_row_is_in_the_store(config: Config, broken: Path, memo_lost: bool) -> None:
    allowed = options_of(config)
    assert extract(allowed, allow_custom=True).new == 84
    if memo_lost:
        for memo in (Path(allowed.cache.dir) / "memo").glob("files-*.json"):
            memo.unlink()
    strict = options_of(config, truncated="quarantine", max_bad_fraction=0.1)
    done = extract(strict, allow_custom=True)
    assert done.new == 0 and [b.name for b in done.bad] == ["train/digit 0/000.png"]
    assert len(done.manifest.images) == 83
    again = extract(allowed, allow_custom=True)
    assert again.new == 0 and not again.bad


def test_what_another_reader_could_not_read_is_tried_again(config: Config, broken: Path) -> None:
    options = options_of(config)
    manifest, memo = load_manifest(options.data, options.cache.dir)
    for image in manifest.images[:2]:
        memo.remember_bad(image.sha256, "pillow-13.0.0", "truncated")  # as the memo of an earlier version has it
    memo.save()
    assert READER != "pillow-13.0.0"
    done = extract(options, allow_custom=True)
    assert not done.bad and done.new == 84


def test_what_two_processes_learn_is_joined(tmp_path: Path) -> None:
    file = tmp_path / "memo.json"
    one, other = HashMemo(file), HashMemo(file)
    one.remember_bad("aa", "r", "torn")
    one.save()
    other.remember_bad("bb", "r", "empty")
    other.save()
    assert set(json.loads(file.read_text())["bad"]) == {"r:aa", "r:bb"}
