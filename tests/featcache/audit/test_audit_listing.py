"""The clean list as a file: what is no list of ours is left alone, and what a list holds stays in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featcache.audit import require_target, write_clean_list
from featcache.audit.clean_list_entries import Excluded
from featcache.audit.clean_list_file import HEADER
from featcache.data.exclude_list import read_exclusion
from featcache.errors import OptionsError

NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\r\t"), min_size=1)


def excluded(*names: str) -> list[Excluded]:
    return [Excluded(name, "a reason, and another", "ff") for name in names]


def listed(file: Path, *known: str) -> list[str]:
    return read_exclusion(file, set(known))[1:]


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def refusal(file: Path, data: Path) -> str:
    with pytest.raises(OptionsError) as refused:
        require_target(file, [data])
    return str(refused.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"path\ntrain/a.png\n",
        b"path,reason,sha256,note\n",
        b"\x89PNG\r\n\x1a\n\0\xff",
        b"\n" + HEADER.encode(),
    ],
)
def test_what_is_no_list_of_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "some file"
    file.write_bytes(content)
    assert "is there already and is no list" in refusal(file, tmp_path / "data")
    with pytest.raises(OptionsError, match="is no list"):
        write_clean_list(excluded("train/a.png"), file)
    assert file.read_bytes() == content
    assert names_in(tmp_path) == ["some file"]


def test_places_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(data / "list.csv")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "alias").symlink_to(data)
    for name in ("data", "data/train/list.csv", "data/new/list.csv", "alias/list.csv", "link"):
        assert "lies in the data folder" in refusal(tmp_path / name, tmp_path / "alias")
    assert "is a folder" in refusal(tmp_path, data)
    assert "cannot be written (Not a directory)" in refusal(tmp_path / "file" / "list.csv", data)
    assert "cannot be written" in refusal(tmp_path / "loop", data)
    assert "cannot be written (File name too long)" in refusal(tmp_path / ("x" * 300), data)
    assert "no regular file" in refusal(tmp_path / "pipe", data)  # and does not wait for a writer
    assert names_in(tmp_path) == ["alias", "data", "file", "link", "loop", "pipe"]
    assert names_in(data) == ["train"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    assert "cannot be written" in refusal(Path("/proc/self/none/list.csv"), tmp_path)
    with pytest.raises(OptionsError, match="cannot be written"):
        write_clean_list(excluded("train/a.png"), Path("/proc/self/list.csv"))


def test_a_new_place_is_taken_and_nothing_left_there_by_asking(tmp_path: Path) -> None:
    file = tmp_path / "new" / "list.csv"
    require_target(file, [tmp_path / "data"])
    assert not names_in(tmp_path)
    written = write_clean_list(excluded("train/a.png"), file)
    assert (written.added, written.kept) == (1, 0)
    assert file.read_text() == f'{HEADER}\n"train/a.png","a reason, and another","ff"\n'


@pytest.mark.parametrize(
    "text",
    [
        f'{HEADER}\n# mine, "kept\n"train/a.png","I looked","00"\ntrain/b.png\n\n',
        f'\ufeff{HEADER}\r\n"train/a.png","I looked","00"\r\ntrain/b.png,,',
        f"{HEADER}\ntrain/a.png,because\ntrain/b.png",
    ],
)
def test_lines_that_are_there_stay_as_they_are(tmp_path: Path, text: str) -> None:
    file = tmp_path / "list.csv"
    file.write_text(text, encoding="utf-8", newline="")
    require_target(file, [tmp_path / "data"])
    written = write_clean_list(excluded("train/a.png", "train/c.png", 'train/d, "d"\n.png'), file)
    assert (written.added, written.kept) == (2, 2)
    after = file.read_bytes().decode()
    assert after.startswith(text)
    assert listed(file) == ["train/a.png", "train/b.png", "train/c.png", 'train/d, "d"\n.png']
    assert write_clean_list(excluded("train/c.png"), file).added == 0
    assert file.read_bytes().decode() == after


def test_a_link_to_a_list_stays_a_link(tmp_path: Path) -> None:
    write_clean_list(excluded("train/a.png"), tmp_path / "list.csv")
    (tmp_path / "link.csv").symlink_to("list.csv")
    write_clean_list(excluded("train/b.png"), tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert listed(tmp_path / "list.csv") == ["train/a.png", "train/b.png"]


@pytest.mark.parametrize("text", [b'"train/a.png\ntrain/b.png\n', b"train/\xff.png\n"])
def test_a_list_that_cannot_be_added_to_is_refused(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(HEADER.encode() + b"\n" + text)
    assert "nothing can be added to this list" in refusal(file, tmp_path / "data")
    assert file.read_bytes().endswith(text)


@settings(deadline=None)  # files are synced
@example(["?", "train/?"], ["?"])
@given(st.lists(NAMES), st.lists(NAMES))
def test_a_list_written_twice_names_the_files_of_both(
    tmp_path_factory: pytest.TempPathFactory, first: list[str], second: list[str]
) -> None:
    file = tmp_path_factory.mktemp("list") / "list.csv"
    write_clean_list(excluded(*dict.fromkeys(first)), file)
    write_clean_list(excluded(*dict.fromkeys(second)), file)
    both = dict.fromkeys([*first, *second])
    both.pop("path", None)  # the header's name, and no image's
    assert listed(file) == list(both)
