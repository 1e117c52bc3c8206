"""Archives are read in place; what would escape, explode or is broken is refused, or set aside with its reason."""

from __future__ import annotations

import io
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from source_makers import load, make_tar, make_zip

from featcache.data import load_manifest
from featcache.data.file_formats import READER
from featcache.data.sources import gzip_stream
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import Manifest

FILES = [(f"{split}/{name}/{i}.png", f"{split} {name} {i}".encode()) for split in ("train", "val", "test")
         for name in ("cat", "dog") for i in range(3)]  # fmt: skip


def bad(path: Path, cache: Path) -> dict[str, str]:
    """Why images of the source are bad, by name."""
    manifest, memo = load_manifest(DataOptions(path=str(path)), cache)
    return {i.name: r for i in manifest.images if (r := memo.bad_reason(i.sha256, READER)) is not None}


@pytest.mark.parametrize("name", ["../up.png", "train/cat/../../../x.png", "/etc/x.png", "C:\\x.png"])
@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_a_member_that_would_escape_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    make = make_zip if kind == "x.zip" else make_tar
    path = make(tmp_path / kind, [*FILES, (name, b"out")])
    with pytest.raises(DataError, match="would lie outside the folder"):
        load(path, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_a_name_that_goes_up_and_stays_below_the_top_is_that_file(tmp_path: Path, kind: str) -> None:
    make = make_zip if kind == "x.zip" else make_tar
    path = make(tmp_path / kind, [*FILES, ("train/cat/../dog/9.png", b"nine"), ("train/cat/../cat/0.png", b"again")])
    manifest = load(path, tmp_path / "cache")
    assert {i.name: i.place.read() for i in manifest.images} == {
        **dict(FILES),
        "train/dog/9.png": b"nine",
        "train/cat/0.png": b"again",
    }
    assert any("1 name several times in it, such as train/cat/0.png" in line for line in manifest.notices)


def test_a_method_that_is_not_read_is_said_as_such(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", FILES)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train/cat/lzma.png", bytes(5000))
    said = bad(path, tmp_path / "cache")["train/cat/lzma.png"]
    assert "compressed by method 14, which is not read" in said and "broken" not in said


def test_links_are_not_followed_and_a_file_that_is_there_twice_is(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in FILES:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "train/cat/0.png")):
            link = tarfile.TarInfo(f"train/cat/{'hard' if kind == tarfile.LNKTYPE else 'soft'}.png")
            link.type, link.linkname = kind, target
            archive.addfile(link)
    assert list(bad(tmp_path / "x.tar", tmp_path / "cache")) == ["train/cat/soft.png"]
    images = {i.name: i for i in load(tmp_path / "x.tar", tmp_path / "cache").images}
    assert images["train/cat/hard.png"].sha256 == images["train/cat/0.png"].sha256
    link = zipfile.ZipInfo("train/cat/soft.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(make_zip(tmp_path / "x.zip", FILES), "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "a link" in bad(tmp_path / "x.zip", tmp_path / "cache")["train/cat/soft.png"]


def test_a_bomb_is_set_aside_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says how large it is by the rule for bytes; one that lies when it is past what it says."""
    monkeypatch.setattr("featcache.data.sources.archive_members.MAX_BYTES", 1000)
    path = make_zip(tmp_path / "x.zip", [*FILES, ("train/cat/large.png", bytes(5000))])
    assert "5000 bytes are more than" in bad(path, tmp_path / "cache")["train/cat/large.png"]
    data = bytearray(make_zip(tmp_path / "y.zip", [*FILES, ("train/cat/lies.png", bytes(500_000))]).read_bytes())
    size = (500_000).to_bytes(4, "little")
    data[data.rindex(size) : data.rindex(size) + 4] = (100).to_bytes(4, "little")  # the directory's
    (tmp_path / "y.zip").write_bytes(data)
    assert "not the 100 bytes" in bad(tmp_path / "y.zip", tmp_path / "cache")["train/cat/lies.png"]


def test_a_broken_member_is_set_aside_and_the_others_are_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", FILES, method=zipfile.ZIP_STORED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"train cat 1", b"train rat 1", 1))
    assert "checksum" in bad(path, tmp_path / "cache")["train/cat/1.png"]
    assert len(bad(path, tmp_path / "cache")) == 1


@pytest.mark.parametrize("kind", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    rng = random.Random(0)
    files = [(name, rng.randbytes(3000)) for name, _ in FILES]
    path = (make_zip if kind == "x.zip" else make_tar)(tmp_path / kind, files)
    path.write_bytes(path.read_bytes()[:-25_000])
    with pytest.raises(DataError, match="cannot be read as a"):
        load(path, tmp_path / "cache")


def test_a_changed_archive_is_read_anew(tmp_path: Path) -> None:
    def hashes(manifest: Manifest) -> set[str]:
        return {i.sha256 for i in manifest.images}

    path = make_zip(tmp_path / "x.zip", FILES)
    first = hashes(load(path, tmp_path / "cache"))
    make_zip(path, [(name, b"new " + data) for name, data in FILES])
    assert first.isdisjoint(hashes(load(path, tmp_path / "cache")))


def test_what_macs_leave_in_archives_is_passed_over(tmp_path: Path) -> None:
    junk = [("__MACOSX/train/cat/._0.png", b"x"), ("top/train/cat/.DS_Store", b"x"), ("top/train/.cache/a.png", b"x")]
    path = make_zip(tmp_path / "x.zip", [*[(f"top/{name}", data) for name, data in FILES], *junk])
    manifest = load(path, tmp_path / "cache")
    assert sorted(i.name for i in manifest.images) == sorted(name for name, _ in FILES)


def test_a_gzip_file_is_read_at_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whichever of the points in memory, which are thinned out; also of several gzip files in one."""
    monkeypatch.setattr(gzip_stream, "SPACING", 4096)
    monkeypatch.setattr(gzip_stream, "MOST_POINTS", 8)
    import gzip

    rng = random.Random(1)
    data = b"".join(rng.randbytes(50) * rng.randint(1, 30) for _ in range(1500))
    half = len(data) // 2
    (tmp_path / "x.gz").write_bytes(gzip.compress(data[:half]) + gzip.compress(data[half:]))
    with gzip_stream.GzipStream(str(tmp_path / "x.gz")) as through:
        assert b"".join(iter(lambda: through.read(10_000), b"")) == data
        assert 3 <= len(through.points) <= 8
    for _ in range(60):
        start, size = rng.randrange(len(data)), rng.randrange(20_000)
        assert gzip_stream.read_at(str(tmp_path / "x.gz"), start, size) == data[start : start + size]
