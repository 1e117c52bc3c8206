"""Small pictures: of what the files held, kept for when they are gone."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcache.places import FilePlace
from featcache.records import PLAIN_DEPTH, Depth, ImageRecord
from heads.report.thumbnails import FILE, SIDE, thumbnails


def write(file: Path, seed: int = 0, size: tuple[int, int] = (200, 100), mode: str = "RGB") -> ImageRecord:
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(mode).save(file)
    return record(file)


def record(file: Path) -> ImageRecord:
    return ImageRecord(FilePlace.at(file), file.name, hashlib.sha256(file.read_bytes()).hexdigest(), 0, "train")


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1"])
def test_pictures_are_small_and_keep_their_shape(tmp_path: Path, mode: str) -> None:
    image = write(tmp_path / "a.png", mode=mode)
    found = thumbnails([image], tmp_path / "cache")
    picture = Image.open(io.BytesIO(found[image.sha256]))
    assert (picture.format, picture.size) == ("WEBP", (SIDE, SIDE // 2))


def test_what_is_in_the_picture_stays_there(tmp_path: Path) -> None:
    halves = np.zeros((100, 100, 3), np.uint8)
    halves[:, 50:] = (250, 10, 10)
    Image.fromarray(halves).save(tmp_path / "a.png")
    image = record(tmp_path / "a.png")
    pixels = np.array(Image.open(io.BytesIO(thumbnails([image], tmp_path / "c")[image.sha256])).convert("RGB"))
    assert pixels[:, :30].mean() < 20 and pixels[:, -30:, 0].mean() > 200 and pixels[:, -30:, 1].mean() < 50


@pytest.mark.parametrize("damage", ["gone", "changed", "corrupt", "folder"])
def test_no_picture_of_what_is_not_there(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "bad.png"
    good, bad = write(tmp_path / "good.png"), write(file, 1)
    if damage == "corrupt":
        file.write_bytes(file.read_bytes()[:200])
        bad = record(file)
    else:
        file.unlink()
    if damage == "changed":
        write(file, 2)
    if damage == "folder":
        file.mkdir()
    assert set(thumbnails([good, bad], tmp_path / "cache")) == {good.sha256}


def test_pictures_outlive_their_files(tmp_path: Path) -> None:
    all_ = [write(tmp_path / f"{i}.png", i) for i in range(3)]
    (tmp_path / "cache").mkdir()
    first = thumbnails(all_, tmp_path / "cache")
    for image in all_:
        Path(image.place.path).unlink()
    assert thumbnails(all_, tmp_path / "cache") == first and len(first) == 3
    assert thumbnails(all_[:1], tmp_path / "cache") == {all_[0].sha256: first[all_[0].sha256]}


def test_what_was_missing_is_made_when_it_is_there(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png")
    moved = Path(image.place.path).rename(tmp_path / "b.png")
    assert thumbnails([image], tmp_path / "cache") == {}
    moved.rename(image.place.path)
    assert set(thumbnails([image], tmp_path / "cache")) == {image.sha256}


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_memory_costs_only_time(tmp_path: Path, content: bytes) -> None:
    image = write(tmp_path / "a.png")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / FILE).write_bytes(content)
    assert set(thumbnails([image], cache)) == {image.sha256}


def test_a_memory_cut_short_costs_only_time(tmp_path: Path) -> None:
    all_ = [write(tmp_path / f"{i}.png", i) for i in range(40)]
    cache = tmp_path / "cache"
    cache.mkdir()
    first = thumbnails(all_, cache)
    file = cache / FILE
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert thumbnails(all_, cache) == first


def test_a_cache_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).mkdir()
    assert set(thumbnails([image], tmp_path / "cache")) == {image.sha256}


def test_a_cache_path_that_is_a_file_costs_only_time(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png")
    (tmp_path / "cache").write_text("not a folder")
    assert set(thumbnails([image], tmp_path / "cache")) == {image.sha256}


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    assert thumbnails([], tmp_path / "cache") == {}


def test_where_no_cache_is_none_is_made(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png")
    assert set(thumbnails([image], tmp_path / "gone")) == {image.sha256}
    assert not (tmp_path / "gone").exists()


def test_values_of_more_than_8_bits_are_shown_as_the_network_saw_them(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 2048, np.uint16)).save(tmp_path / "a.png")
    image = record(tmp_path / "a.png")
    (tmp_path / "cache").mkdir()

    def tone(depth: Depth) -> float:
        picture = thumbnails([image], tmp_path / "cache", depth)[image.sha256]
        return float(np.asarray(Image.open(io.BytesIO(picture)).convert("L")).mean())

    for _ in range(2):  # made, and remembered
        assert tone(PLAIN_DEPTH) < 12
        assert 120 < tone(Depth("12")) < 136
