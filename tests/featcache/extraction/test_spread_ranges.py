"""What a worker of a cluster looks at before it computes: that it sees the files at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.data import Task
from featcache.errors import InputError
from featcache.extraction.spread_ranges import require_seen
from featcache.places import BytesPlace, FilePlace


def tasks(*paths: Path) -> list[Task]:
    return [Task("0" * 64, FilePlace.at(path), (0,)) for path in paths]


def test_a_folder_that_is_not_mounted_is_no_folder_of_bad_images(tmp_path: Path) -> None:
    there = tmp_path / "there.png"
    there.write_bytes(b"")
    gone = tmp_path / "gone.png"
    require_seen(tasks(gone, there))  # one that was deleted meanwhile is one image's trouble
    require_seen(tasks(gone))
    require_seen([Task("0" * 64, BytesPlace("x", b""), (0,))])
    for unseen in (tasks(gone, tmp_path / "too.png"), tasks(tmp_path / "no folder" / "a.png")):
        with pytest.raises(InputError, match=r"cannot be seen by a worker.* shared folder"):
            require_seen(unseen)
