"""Each image is decoded once for all backbones of a command, and what changed on the way is not stored."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.data import content_hashes
from featcache.data.decoded_image import Task
from featcache.data.decoded_scratch import Scratch
from featcache.data.decoder import Decoder
from featcache.data.image_files import read_picture
from featcache.data.unreadable_image import UnreadableImageError
from featcache.extraction.one_backbone import extract
from featcache.options.augmentation_options import HorizontalFlip
from featcache.options.loading import parse_options
from featcache.places import FilePlace
from featcache.records import Depth, Preprocessing

Config = Callable[..., dict[str, Any]]
SMALL = Preprocessing(32, 36)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each image that is decoded."""
    calls: list[int] = []

    def counting(data: bytes, depth: Depth, timeout_s: float | None) -> Any:
        calls.append(len(data))
        return read_picture(data, depth, timeout_s)

    monkeypatch.setattr("featcache.data.decoded_image.read_picture", counting)
    return calls


def tasks_of(digits: Path, views: tuple[int, ...] = (0,)) -> list[Task]:
    files = sorted((digits / "train").rglob("*.png"))
    return [Task(hashlib.sha256(f.read_bytes()).hexdigest(), FilePlace.at(f), views) for f in files]


def pixels(decoder: Decoder, tasks: list[Task]) -> torch.Tensor:
    blocks = decoder.blocks(tasks, 8, 4, ahead=False)
    return torch.stack([v for block in blocks for d in block for v in d.images or ()])


def test_a_second_backbone_of_the_same_input_decodes_nothing(digits: Path, tmp_path: Path, decoded: list[int]) -> None:
    scratch = Scratch(tmp_path / "cache", 1 << 30)
    tasks = tasks_of(digits)
    first = pixels(Decoder(SMALL, [], 2, scratch), tasks)
    assert len(decoded) == len(tasks) == 48
    other_mean = Preprocessing(32, 36, mean=(0.5, 0.5, 0.5))
    assert torch.equal(pixels(Decoder(other_mean, [], 2, scratch), tasks), first)
    assert len(decoded) == 48
    assert not torch.equal(pixels(Decoder(Preprocessing(32, 40), [], 2, scratch), tasks), first)
    assert len(decoded) == 96
    scratch.close()


def test_views_are_kept_for_each_spec(digits: Path, tmp_path: Path, decoded: list[int]) -> None:
    scratch = Scratch(tmp_path / "cache", 1 << 30)
    tasks = tasks_of(digits, (0, 1, 2))
    flips = [HorizontalFlip()]
    first = pixels(Decoder(SMALL, flips, 2, scratch), tasks)
    assert torch.equal(pixels(Decoder(SMALL, flips, 2, scratch), tasks), first)
    assert len(decoded) == 48
    assert torch.equal(first, pixels(Decoder(SMALL, flips, 2), tasks))
    scratch.close()


def test_what_does_not_fit_is_decoded_again(digits: Path, tmp_path: Path, decoded: list[int]) -> None:
    scratch = Scratch(tmp_path / "cache", 10 * 3 * 32 * 32 + 5)
    tasks = tasks_of(digits)
    first = pixels(Decoder(SMALL, [], 1, scratch), tasks)
    assert torch.equal(pixels(Decoder(SMALL, [], 1, scratch), tasks), first)
    assert len(decoded) == 48 + 38
    scratch.close()


def test_nothing_is_left_on_the_disk_even_while_it_is_used(digits: Path, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "cache", 1 << 30)
    pixels(Decoder(SMALL, [], 2, scratch), tasks_of(digits))
    assert list((tmp_path / "cache").iterdir()) == []
    scratch.close()


def test_a_disk_that_fails_stops_the_keeping_and_not_the_work(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int]
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    scratch = Scratch(tmp_path / "cache", 1 << 30)
    monkeypatch.setattr("os.pwrite", full)
    tasks = tasks_of(digits)
    assert len(pixels(Decoder(SMALL, [], 2, scratch), tasks)) == 48
    assert len(pixels(Decoder(SMALL, [], 2, scratch), tasks)) == 48
    assert len(decoded) == 96
    scratch.close()


@pytest.mark.parametrize("ahead", [True, False])
def test_blocks_hold_whole_batches_but_for_the_last(digits: Path, ahead: bool) -> None:
    tasks = tasks_of(digits, (1, 2, 3))
    sizes = [
        sum(len(d.images or ()) for d in block) for block in Decoder(SMALL, [], 2).blocks(tasks, 32, 8, ahead=ahead)
    ]
    assert sum(sizes) == 144
    assert all(size % 8 == 0 and size >= 32 for size in sizes[:-1])


def test_bad_files_are_told_from_files_that_changed(digits: Path) -> None:
    good, bad, changed, gone = tasks_of(digits)[:4]
    bad_file, changed_file, good_file, gone_file = (Path(t.place.path) for t in (bad, changed, good, gone))
    bad_file.write_bytes(b"text")
    bad = Task(hashlib.sha256(b"text").hexdigest(), bad.place, (0,))
    changed_file.write_bytes(good_file.read_bytes())
    gone_file.unlink()
    (block,) = Decoder(SMALL, [], 2).blocks([good, bad, changed, gone], 8, 4, ahead=False)
    assert [type(d.error).__name__ for d in block] == [
        "NoneType",
        "UnreadableImageError",
        "ChangedFileError",
        "UnreadFileError",
    ]
    assert all(isinstance(d.error, UnreadableImageError) for d in block[1:])


def test_a_file_that_changes_while_it_is_extracted_is_never_stored_under_its_old_hash(
    config: Config, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same size, same time, other bytes: only reading it again shows it."""
    model = {"backbone": TINY, "pretrained": True}
    options = parse_options(config(model=model, data={"max_bad_fraction": 0.1}))
    file, twin = (digits / "train" / "digit 0" / f"00{i}.png" for i in (0, 1))
    size = max(file.stat().st_size, twin.stat().st_size)
    for path in (file, twin):
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    real = content_hashes.HashMemo.sha256

    def then_changed(self: Any, paths: Any, workers: int) -> list[str]:
        found = real(self, paths, workers)
        stat = file.stat()
        file.write_bytes(twin.read_bytes())
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        return found

    monkeypatch.setattr(content_hashes.HashMemo, "sha256", then_changed)
    first = extract(options, allow_custom=True)
    assert [(b.name, "changed" in b.reason) for b in first.bad] == [("train/digit 0/000.png", True)]
    monkeypatch.undo()
    again = extract(options, allow_custom=True)
    assert not again.bad and again.new == 0  # now a copy of its twin, whose row is there


def test_several_configs_of_one_command_decode_each_image_once(
    config: Config, tmp_path: Path, decoded: list[int]
) -> None:
    files = []
    for dtype in ("float16", "float32"):  # two identities of the same input
        file = tmp_path / f"{dtype}.json"
        file.write_text(json.dumps(config(dtype, model={"backbone": TINY, "pretrained": True}, cache={"dtype": dtype})))
        files.append(str(file))
    done = CliRunner().invoke(app, ["extract", *files, "--allow-custom"])
    assert done.exit_code == 0, done.output
    assert done.output.count("0 rows reused, 84 new, 0 bad;") == 2
    assert len(decoded) == 84
