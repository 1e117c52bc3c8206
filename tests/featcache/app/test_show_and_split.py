"""`featcache show` and `featcache split`: what is in the data is said truly, and a split that is written is kept."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from command_runs import featcache
from markupsafe import escape
from PIL import Image
from source_makers import make_csv

from featcache.data import load_manifest
from featcache.errors import DataError
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


def test_labels_that_a_terminal_would_obey_are_shown_by_their_codes(photos: Path, tmp_path: Path) -> None:
    for old, new in (("blue", "blue\x1b[2J"), ("<b>red", "red\u202egnp")):
        (photos / old).rename(photos / new)
    done = featcache("show", photos, "--cache-dir", tmp_path / "cache")
    assert not {"\x1b", "\u202e"} & set(done.output)
    assert r"blue\x1b[2J " in done.output and r"red\u202egnp " in done.output


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


def _colours(root: Path, counts: dict[str, int]) -> Path:
    """So many pictures in each folder, no two alike."""
    for at, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True)
        for n in range(count):
            Image.new("RGB", (9, 9), (at, n, 0)).save(root / folder / f"{n}.png")
    return root


# Counts of pictures in folders, and words of why they are refused.
REFUSED: dict[str, tuple[dict[str, int], str]] = {
    "a class that train lacks": (
        {"train/a": 3, "train/b": 2, "val/a": 1, "val/<c>": 2},
        "train has no image of 1 class",
    ),
    "near names": ({"train/Cloudy": 3, "train/cloudy": 2, "val/cloudy": 1}, "differ by case or spaces alone"),
    "one class only": ({"train/a": 3, "val/a": 2}, "one class only ('a')"),
    "a split without images": ({"train/a": 3, "train/b": 2, "val/a": 0, "val/b": 0}, "so that val is empty"),
    "a split without folders": ({"train/a": 3, "train/b": 2, "test": 0}, "no class folders there"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_be_refused_is_shown_and_said_to_be(tmp_path: Path, fault: str) -> None:
    folders, words = REFUSED[fault]
    root, page, cache = _colours(tmp_path / "d", folders), tmp_path / "page.html", tmp_path / "cache"
    with pytest.raises(DataError) as refusal:
        load_manifest(DataOptions(path=str(root)), cache)
    assert words in str(refusal.value)
    shown = featcache("show", root, "--json", "--html", page, "--cache-dir", cache, "-q")
    found = json.loads(shown.stdout)
    assert (shown.exit_code, found["refused"], found["fingerprint"]) == (2, str(refusal.value), None)
    counts = {f"{split}/{one['class']}": one[split] for one in found["classes"] for split in ("train", "val", "test")}
    assert {k: n for k, n in counts.items() if n} == {k: n for k, n in folders.items() if n}
    assert (found["images"], found["formats"]) == (sum(folders.values()), {"PNG": sum(folders.values())})
    assert f"This would be refused:</strong> {escape(refusal.value)}" in page.read_text(encoding="utf-8")
    text = featcache("show", root, "--cache-dir", cache)
    assert text.exit_code == 2 and f"this would be refused: {refusal.value}" in text.stdout
    assert "formats: PNG" in text.stdout and "Traceback" not in text.output


def test_images_without_a_split_are_counted_as_such(tmp_path: Path) -> None:
    root = _colours(tmp_path / "d", {"a": 4, "b": 3})
    rows = [["a/0.png", "a", "train"], ["a/1.png", "a", ""], ["b/0.png", "b", "train"], ["b/1.png", "b", "test"]]
    table = make_csv(root / "t.csv", ["path", "label", "split"], rows)
    shown = featcache("show", table, "--json", "--cache-dir", tmp_path / "cache", "-q")
    assert shown.exit_code == 2
    found = json.loads(shown.stdout)
    assert found["classes"] == [
        {"class": "a", "train": 1, "val": 0, "test": 0, "no split": 1},
        {"class": "b", "train": 1, "val": 0, "test": 1, "no split": 0},
    ]
    assert "1 of 4 images have no split, such as line 3 (a/1.png)" in found["refused"]
    assert featcache("split", table, "--out", tmp_path / "u.csv", "--cache-dir", tmp_path / "cache").exit_code == 2


def test_what_can_be_trained_on_is_not_said_to_be_refused(photos: Path, tmp_path: Path) -> None:
    shown = featcache("show", photos, "--json", "--html", tmp_path / "p.html", "--cache-dir", tmp_path / "cache", "-q")
    found = json.loads(shown.stdout)
    assert (shown.exit_code, found["refused"]) == (0, None) and found["fingerprint"]
    assert "would be refused" not in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_nothing_to_show_is_an_error_alone(tmp_path: Path) -> None:
    shown = featcache("show", _colours(tmp_path / "d", {"a": 0, "b": 0}), "--cache-dir", tmp_path / "cache")
    assert shown.exit_code == 2 and "no images" in shown.output and "would be refused" not in shown.output


def test_the_mean_picture_is_the_mean(photos: Path, tmp_path: Path) -> None:
    from featcache.data import look_over, survey

    options = DataOptions(path=str(photos), workers=2)
    mean = look_over(survey(options, tmp_path / "cache"), options).means["<b>red"]
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


def test_weights_are_said_and_written_to_be_read_again(photos: Path, tmp_path: Path) -> None:
    names = [p.relative_to(photos).as_posix() for p in sorted(photos.rglob("*.png"))]
    weights = {name: number % 7 / 3 for number, name in enumerate(names)}
    source = photos / "source.csv"
    with source.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["path", "label", "trust"])
        out.writerows([name, name.split("/")[0], repr(weight)] for name, weight in weights.items())
    named = ["--set", "data.columns.weight=trust", "--cache-dir", tmp_path / "cache"]
    done = featcache("split", source, "--out", photos / "table.csv", *named)
    assert done.exit_code == 0, done.output
    with (photos / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "label", "split", "weight"]
    assert {row["path"]: float(row["weight"]) for row in rows} == weights
    again, _ = load_manifest(DataOptions(path=str(photos / "table.csv")), tmp_path / "cache")
    assert {i.name: i.weight for i in again.images} == weights
    shown = featcache("show", source, *named)
    assert "weight: 'trust'" in shown.output
    assert "weights: 0 to 2 on" in shown.output
    value = json.loads(featcache("show", source, "--json", *named).stdout)
    zero = sum(weight == 0 for weight in weights.values())
    assert value["weights"] == {"least": 0.0, "most": 2.0, "zero": zero}
    plain = featcache("show", source, "--json", "--cache-dir", tmp_path / "cache")
    assert json.loads(plain.stdout)["weights"] is None


def test_a_page_that_cannot_be_written_is_said_after_what_was_found(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/dev/null")
    for page in (tmp_path, tmp_path / "file" / "p.html", tmp_path / ("n" * 300), tmp_path / "link"):
        shown = featcache("show", photos, "--cache-dir", tmp_path / "cache", "--html", page)
        assert shown.exit_code == 2, shown.output
        assert "formats: PNG" in shown.stdout
        assert f"--html {page}: " in shown.stderr and "Traceback" not in shown.output
    assert (tmp_path / "link").is_symlink()


def test_the_size_of_a_small_page_is_no_0_mb(photos: Path, tmp_path: Path) -> None:
    shown = featcache("show", photos, "--cache-dir", tmp_path / "cache", "--html", tmp_path / "p.html")
    assert f"the page ({(tmp_path / 'p.html').stat().st_size / 1000:.0f} kB)" in shown.output.replace("\n", " ")


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.TSV"])
def test_a_table_parted_by_tabs_is_read_as_what_was_written(photos: Path, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    assert featcache("split", photos, "--out", photos / name, "--cache-dir", cache).exit_code == 0
    assert (photos / name).read_text().splitlines()[0] == "path\tlabel\tsplit"
    before, _ = load_manifest(DataOptions(path=str(photos)), cache)
    after, _ = load_manifest(DataOptions(path=str(photos / name)), cache)
    assert after.fingerprint == before.fingerprint


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t", "file/t.csv", f"{'n' * 300}.csv"])
def test_a_split_goes_to_no_file_that_would_not_be_read_or_cannot_be_written(
    photos: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("x")
    done = featcache("split", photos, "--out", tmp_path / name, "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 2 and f"--out {tmp_path / name}: " in done.output and "Traceback" not in done.output
    assert not list(tmp_path.glob(".*tmp")) and not list(tmp_path.glob("t*"))


def test_a_name_that_no_table_can_hold_is_named(photos: Path, tmp_path: Path) -> None:
    (photos / "blue" / "00.png").rename(photos / "blue" / "\udce9.png")
    done = featcache("split", photos, "--out", tmp_path / "t.csv", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 2, done.output
    assert r"blue/\xe9.png has a name that is not UTF-8" in done.output.replace("\n", "")
    assert not (tmp_path / "t.csv").exists()


def test_classes_that_a_table_would_call_otherwise_are_refused(tmp_path: Path) -> None:
    """A table whose labels are numbers reads 2.0 as 2."""
    for n in range(40):
        file = tmp_path / "d" / ("1.5", "2.0")[n % 2] / f"{n}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), n).save(file)
    done = featcache("split", tmp_path / "d", "--out", tmp_path / "t.csv", "--cache-dir", tmp_path / "cache")
    assert done.exit_code == 2 and "a table reads '2.0' as '2'" in done.stderr
    assert not (tmp_path / "t.csv").exists()


def test_one_content_under_two_labels_or_in_two_splits_is_named(tmp_path: Path) -> None:
    folders = {f"{split}/{name}": 3 for split in ("train", "val", "test") for name in "ab"}
    root, cache = _colours(tmp_path / "d", folders), tmp_path / "cache"
    assert not any(one.startswith("1 content") for one in load_manifest(DataOptions(path=str(root)), cache)[0].notices)
    shutil.copy(root / "train/a/0.png", root / "train/b/x.png")
    shutil.copy(root / "train/b/1.png", root / "val/b/y.png")
    for options, split in (({}, True), ({"folds": 2}, False)):
        notices = load_manifest(DataOptions(path=str(root), **options), cache)[0].notices  # type: ignore[arg-type]
        assert "1 content has several labels: train/a/0.png (a), train/b/x.png (b)" in notices
        assert ("1 content in more than one split: train/b/1.png (train), val/b/y.png (val)" in notices) == split
    assert "1 content has several labels" in featcache("show", root, "--cache-dir", cache).stdout
    shutil.rmtree(root / "val")
    shutil.copytree(root / "train" / "b", root / "val" / "c")
    refused = featcache("show", root, "--cache-dir", cache)
    assert refused.exit_code == 2 and "4 contents have several labels" in refused.stdout
