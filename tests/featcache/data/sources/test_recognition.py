"""What a path names, kinds that packages bring, and images found again for a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from source_makers import load, make_csv, make_tar, make_zip, pictured

from featcache.data import locate, regroup
from featcache.data.sources import GROUP, SOURCES, Listing, Row, list_images
from featcache.data.sources.recognition import recognise, root_of
from featcache.errors import DataError, PluginError
from featcache.extraction.one_backbone import extract
from featcache.options import DataOptions
from featcache.options.loading import parse_options
from featcache.places import FilePlace

HERE = Path(__file__).stem


def planted(path: str, options: DataOptions) -> Listing:
    """A kind of source that a package brings: `planted:FOLDER`, classes by the first letter."""
    files = sorted(Path(path).glob("*.png"))
    return Listing("planted", Path(path), [Row(f.name, FilePlace.at(f), f.name[0]) for f in files])


def broken(path: str, options: DataOptions) -> Listing:
    raise ZeroDivisionError("of my own")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def point(name: str, value: str) -> None:
        found = [EntryPoint(name, value, GROUP)]
        monkeypatch.setattr("featcache.plugins.entry_points", lambda *, group: found if group == GROUP else [])

    return point


def test_a_kind_of_source_of_a_package(tmp_path: Path, install: Callable[[str, str], None]) -> None:
    for n in range(40):
        (tmp_path / f"{'ab'[n % 2]}{n}.png").write_bytes(b"%d" % n)
    install("planted", f"{HERE}:planted")
    manifest = load(f"planted:{tmp_path}", tmp_path / "cache")
    assert manifest.classes == ("a", "b") and len(manifest.images) == 40
    rows = [[f"{'ab'[n % 2]}{n}.png", "xy"[n % 2]] for n in range(40)]
    table = make_csv(tmp_path / "t.csv", ["path", "label"], rows)
    named = load(table, tmp_path / "cache", root=f"planted:{tmp_path}")
    assert named.classes == ("x", "y") and {i.sha256 for i in named.images} == {i.sha256 for i in manifest.images}
    install("planted", f"{HERE}:broken")
    with pytest.raises(PluginError, match=r"data source 'planted'.*of my own"):
        load(f"planted:{tmp_path}", tmp_path / "cache")
    install("zip", f"{HERE}:planted")
    with pytest.raises(PluginError, match="taken"):
        load(f"zip:{tmp_path}", tmp_path / "cache")


def test_a_bad_entry_point_stops_none_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(40):
        (tmp_path / f"{'ab'[n % 2]}{n}.png").write_bytes(b"%d" % n)
    names = {"zip": "planted", "planted": "planted", "twice": "planted", "none": "no_such_function"}
    found = [EntryPoint(name, f"{HERE}:{value}", GROUP) for name, value in names.items()]
    found.append(EntryPoint("twice", f"{HERE}:planted", GROUP))
    monkeypatch.setattr("featcache.plugins.entry_points", lambda *, group: found if group == GROUP else [])
    assert len(load(f"planted:{tmp_path}", tmp_path / "cache").images) == 40
    for kind, words in (("twice", "the name is taken"), ("none", "cannot be imported"), ("zip", "the name is taken")):
        with pytest.raises(PluginError, match=f"'{kind}'.*{words}"):
            load(f"{kind}:{tmp_path}", tmp_path / "cache")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s3://bucket/photos", r"nothing is fetched from s3\. .*download it"),
        ("https://host.invalid/photos.zip", "nothing is fetched from https"),
        ("https://host.invalid/train-{000..127}.tar", "nothing is fetched from https"),
        ("file:///photos", r"a path, not an address, is expected: /photos\.$"),
        ("lake:photos", "'lake' is no kind of source"),
    ],
)
def test_addresses_are_not_fetched(tmp_path: Path, path: str, words: str) -> None:
    for options in ({"path": path}, {"path": str(tmp_path), "root": path}):
        with pytest.raises(DataError, match=words) as error:
            recognise(path) if "root" not in options else root_of(DataOptions(**options))
        assert ("data.root" in str(error.value)) == ("root" in options)


def test_a_kind_may_be_said_outright(digits: Path, tmp_path: Path) -> None:
    file = make_zip(tmp_path / "archive.bin", [(one.name, one.data) for one in pictured(digits)])
    with pytest.raises(DataError, match=r"a kind that is not read \(\.bin\)"):
        load(file, tmp_path / "cache")
    assert len(load(f"zip:{file}", tmp_path / "cache").images) == 84
    assert set(SOURCES) == {"folder", "table", "tables", "zip", "tar", "shards", "arrays", "torchvision"}


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind != "torchvision"])
def test_a_kind_that_a_place_is_not_is_refused_in_words(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder" / "a").mkdir(parents=True)
    (tmp_path / "folder" / "a" / "1.png").write_bytes(b"1")
    make_zip(tmp_path / "z.zip", [("x", b"1")])
    make_csv(tmp_path / "t.csv", ["path", "label"], [["folder/a/1.png", "a"]])
    for name in ("empty", "folder", "z.zip", "t.csv", "gone", "gone.csv"):
        with pytest.raises(DataError) as refused:
            load(f"{kind}:{tmp_path / name}", tmp_path / "cache")
        assert name in str(refused.value)


@pytest.mark.parametrize("inner", ["data", "a/b/data"])
def test_a_lone_folder_of_tables_or_shards_is_gone_into_and_said(tmp_path: Path, inner: str) -> None:
    """As archives leave them when they are unpacked, and as a hub keeps its only configuration."""
    them = [(f"{n}.png", b"%d" % n) for n in range(40)]
    listed = tmp_path / "listed" / inner / "train"
    listed.mkdir(parents=True)
    for name, data in them:
        (listed / name).write_bytes(data)
    make_csv(listed / "metadata.csv", ["file_name", "label"], [[name, "ab"[n % 2]] for n, (name, _) in enumerate(them)])
    shards = tmp_path / "shards" / inner
    shards.mkdir(parents=True)
    make_tar(shards / "train-0.tar", [*them, *((f"{n}.cls", b"%d" % (n % 2)) for n in range(40))])
    found = load(tmp_path / "listed", tmp_path / "cache")
    assert f"the images are looked for in its folder {inner}" in found.notices and len(found.images) == 40
    assert len(load(tmp_path / "shards", tmp_path / "cache").images) == 40
    paths = [[f"{inner}/train/{name}", "ab"[n % 2]] for n, (name, _) in enumerate(them)]
    table = make_csv(tmp_path / "t.csv", ["path", "label"], paths)  # whose paths are below what is named
    found = load(table, tmp_path / "cache", root=str(tmp_path / "listed"))
    assert {i.name for i in found.images} == {path for path, _ in paths}
    (tmp_path / "loop" / "x").mkdir(parents=True)
    (tmp_path / "loop" / "x" / "y").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError):
        load(tmp_path / "loop", tmp_path / "cache")


def test_rows_that_nothing_can_be_trained_on(digits: Path, tmp_path: Path) -> None:
    them = pictured(digits)

    def refusal(rows: list[list[str]]) -> str:
        file = make_csv(digits / "t.csv", ["path", "label", "split"], rows)
        with pytest.raises(DataError) as refused:
            load(file, tmp_path / "cache")
        return str(refused.value)

    assert "one class only ('x')" in refusal([[one.name, "x", one.split] for one in them])
    assert "none in train" in refusal([[one.name, one.label, "val"] for one in them])
    some = [[one.name, one.label, one.split] for one in them if (one.label, one.split) != ("digit 2", "train")]
    assert "train has no image of 1 class that other splits have: 'digit 2' (" in refusal(some)


def test_images_and_groups_are_found_again_by_name(
    config: Callable[..., dict[str, Any]], digits: Path, tmp_path: Path
) -> None:
    """A store knows names alone: what a report shows comes from the source itself."""
    them = pictured(digits)
    rows = [[one.name, one.label, one.split, f"{one.split} {n // 3}"] for n, one in enumerate(them)]
    table = make_csv(tmp_path / "t.csv", ["path", "label", "split", "patient"], rows)
    archive = make_zip(tmp_path / "x.zip", [(one.name, one.data) for one in them])
    other = shutil.copy(archive, tmp_path / "archive.bin")
    folder = {"path": str(digits)}
    tables = [{"path": str(table), "root": root} for root in (str(digits), f"zip:{other}")]
    several = (folder, *tables, {"path": f"zip:{other}"}, {"path": str(archive)})
    for data in several:
        options = parse_options(config(model={"backbone": TINY, "pretrained": True}, data=data))
        done = extract(options, allow_custom=True)
        known = done.store.dataset(done.manifest.fingerprint)
        found = locate(known, options.data, Path(options.cache.dir))
        assert [i.place.read() for i in found.images] == [i.place.read() for i in done.manifest.images]
        groups = [i.group for i in regroup(known, options.data, Path(options.cache.dir)).images]
        assert groups == [i.group for i in done.manifest.images]
    archive.unlink()
    with pytest.raises(OSError):
        locate(known, options.data, Path(options.cache.dir)).images[0].place.read()


def test_listing_opens_no_image(digits: Path) -> None:
    listing = list_images(str(digits), DataOptions(path=str(digits)))
    assert len(listing.rows) == 84 and listing.name == "digits"
