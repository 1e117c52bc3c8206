"""`report --data` takes any of the sources that have the same images."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcache.errors import OptionsError
from heads.leaderboard import ranked_results
from heads.runs import Run


def _run(path: str, fingerprint: str) -> Run:
    return Run(Path(path), {"data": {"path": path, "fingerprint": fingerprint}}, {})


def test_every_source_of_the_same_images_means_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs = [_run("/a/photos", "f00"), _run("/b/photos.zip", "f00"), _run("/b/other", "e11")]
    monkeypatch.setattr(ranked_results, "finished_runs", lambda _: runs)
    for wanted in ("/a/photos", "photos.zip", "photos", "f0"):
        assert ranked_results.find_data(tmp_path, wanted) == "f00"
    with pytest.raises(OptionsError, match="0 data sets are meant"):
        ranked_results.find_data(tmp_path, "nope")
