"""`featcache show` and `featcache split`: what is in the data is said truly, and a split that is written is kept."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from command_runs import featcache
from PIL import Image

from featcache.data import load_manifest
from featcache.options import DataOptions


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """20 plain pictures of one colour for each class, and one odd file of each kind."""
    root = tmp_path / "photos"
    for name, colour in (("<b>red", (200, 10, 10)), ("blue", (10, 10, 200))):
        (root / name).mkdir(parents=True)
        for n in range(20):
            Image.new("RGB", (30 + n % 2, 20), (*colour[:2], colour[2] + n % 3)).save(root / name / f"{n:02d}.png")
    (root / "blue" / "broken.png").write_bytes(b"no image")
    (root / "blue" / "notes.txt").write_text("n")
    frames = [Image.new("L", (30, 20), shade) for shade in (60, 90)]
    frames[0].save(root / "blue" / "two.gif", save_all=True, append_images=frames[1:])
    return root


def test_show_says_what_is_there(photos: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = featcache("show", photos, "--cache-dir", tmp_path / "cache", "--html", page, "--json", "-q")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    splits = {one["class"]: (one["train"], one["val"], one["test"]) for one in found["classes"]}
    assert set(splits) == {"<b>red", "blue"}
    assert [sum(counts) for counts in splits.values()] == [20, 22]
    assert found["images"] == 42
    assert found["contents"] == 2 + len({(n % 2, n % 3) for n in range(20)}) * 2
    assert found["formats"] == {"PNG": 40, "GIF": 1, "?": 1}
    assert sorted(found["sizes"]) == [[30, 20, 21], [31, 20, 20]]
    odd = {one["path"]: one["what"] for one in found["odd"]}
    assert set(odd) == {"blue/broken.png", "blue/notes.txt", "blue/two.gif"}
    assert "unreadable" in odd["blue/broken.png"]
    assert "first of 2 pages" in odd["blue/two.gif"]
    text = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;red" in text
    assert "<b>red" not in text
    assert text.count("<img ") > 10
    assert "http" not in text.replace("http-equiv", "")  # nothing is asked of anywhere


def test_show_on_a_terminal_counts_by_class_and_split(photos: Path, tmp_path: Path) -> None:
    done = featcache("show", photos, "--cache-dir", tmp_path / "cache", "--set", "data.limit=5")
    assert done.exit_code == 0, done.output
    manifest, _ = load_manifest(DataOptions(path=str(photos), limit={"train": 5}), tmp_path / "cache")  # type: ignore[arg-type]
    (line,) = [one.split() for one in done.output.splitlines() if one.startswith("blue ")]
    counts = Counter(i.split for i in manifest.images if i.label == 1)
    assert line == ["blue", *(str(counts[s]) for s in ("train", "val", "test")), str(counts.total())]
    assert "blue/broken.png: left out as unreadable" in done.output
    assert "data.limit" in done.output


def test_the_mean_picture_is_the_mean(photos: Path, tmp_path: Path) -> None:
    from featcache.data import look_over

    options = DataOptions(path=str(photos), workers=2)
    manifest, _ = load_manifest(options, tmp_path / "cache")
    mean = look_over(manifest, options).means["<b>red"]
    assert np.abs(mean.reshape(-1, 3).mean(axis=0) - np.array([200, 10, 10 + np.mean(np.arange(20) % 3)])).max() < 0.6


def test_a_split_that_is_written_is_the_split_that_is_read(photos: Path, tmp_path: Path) -> None:
    table, cache = tmp_path / "table.csv", tmp_path / "cache"
    done = featcache("split", photos, "--out", table, "--cache-dir", cache, "--set", "data.val_fraction=0.3")
    assert done.exit_code == 0, done.output
    assert f"--set data.path={table} --set data.root={photos}" in done.output.replace("\n", "")
    before, _ = load_manifest(DataOptions(path=str(photos), val_fraction=0.3), cache)
    after, _ = load_manifest(DataOptions(path=str(table), root=str(photos)), cache)
    assert after.fingerprint == before.fingerprint
    Image.new("RGB", (30, 20), (1, 2, 3)).save(photos / "blue" / "new.png")
    kept, _ = load_manifest(DataOptions(path=str(table), root=str(photos)), cache)
    assert kept.fingerprint == before.fingerprint
    again = featcache("split", photos, "--out", table, "--cache-dir", cache)
    assert again.exit_code == 2
    assert "exists" in again.output


def test_groups_and_merged_classes_are_in_the_table(photos: Path, tmp_path: Path) -> None:
    config = {"experiment_name": "x", "model": {"backbone": "resnet18"}, "data": {"path": str(photos)}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    table = photos / "table.csv"  # among the images: its paths need no data.root
    sets = ["--set", r"data.groups=pattern:(\d)\.", "--set", 'data.classes={"warm": ["<b>red"], "cold": ["blue"]}']
    done = featcache("split", tmp_path / "config.json", "--out", table, "--cache-dir", tmp_path / "cache", *sets)
    assert done.exit_code == 0, done.output
    assert "data.root" not in done.output
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["label"] for row in rows} == {"warm", "cold"}
    groups = {row["group"] for row in rows if row["group"]}
    assert groups == set("0123456789")
    assert all(len({row["split"] for row in rows if row["group"] == group}) == 1 for group in groups)
