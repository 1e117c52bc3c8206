"""Files that are none: folders, pipes and devices are refused at once, and never waited for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from featcache import places
from featcache.places import FilePlace, NoContentError, head_and_sha256


@pytest.mark.parametrize(
    ("make", "words"),
    [(Path.mkdir, "a folder"), (os.mkfifo, "a pipe or a device"), (lambda p: p.symlink_to("/dev/zero"), "a device")],
)
def test_what_is_no_plain_file_has_no_content(tmp_path: Path, make: object, words: str) -> None:
    path = tmp_path / "x.png"
    make(path)  # type: ignore[operator]
    place = FilePlace.at(path)
    for ask in (place.stamp, place.read, lambda: head_and_sha256(place, 9)):
        with pytest.raises(NoContentError, match=words):
            ask()


def test_a_file_is_hashed_in_chunks_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(bytes(range(256)) * 40)
    monkeypatch.setattr(places, "CHUNK", 1000)
    assert head_and_sha256(FilePlace.at(path), 3) == (b"\0\1\2", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(places, "MAX_READ", 10_000)
    with pytest.raises(NoContentError, match="more than 10000 bytes"):
        head_and_sha256(FilePlace.at(path), 3)


def test_a_read_that_fails_names_the_file() -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc")
    with pytest.raises(OSError, match="/proc/self/mem"):
        head_and_sha256(FilePlace("/proc/self/mem"), 3)
