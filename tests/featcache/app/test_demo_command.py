"""`featcache demo`, in a folder where there is nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from command_runs import done, featcache

from featcache.app.commands import benchmark, demo

QUICK = ("model.input_size=32", "data.limit=60", "training.epochs=2", "training.seeds=2", "profile.iterations=3")


def test_it_ranks_what_featcache_came_with_and_says_what_is_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SMALL", ("squeezenet1_1",))
    page = tmp_path / "results" / "report.html"
    monkeypatch.setattr(benchmark, "write_page", lambda *_: page)  # other tests write it
    monkeypatch.setattr(benchmark, "audit_data", lambda *_: None)
    set_ = [part for key in QUICK for part in ("--set", key)]
    shown = done("demo", "--small", "-q", "--device", "cpu", *set_).stdout
    rows = csv.DictReader(Path("results/leaderboard.csv").read_text().splitlines())
    assert [row["run"] for row in rows] == ["demo_squeezenet1_1"]
    end = shown[shown.index("Next") :]
    told = json.loads(done("demo", "--small", "--device", "cpu", *set_, "--json").stdout)  # what was done is kept
    assert [row["run"] for row in told["rows"]] == ["demo_squeezenet1_1"] and told["report"] == str(page)
    for words in (f"Open {page}", "featcache init", "featcache demo", "configs/phase1 --set data.path=FOLDER"):
        assert words in end


def test_small_is_a_part_of_the_whole() -> None:
    whole = {file.stem for file in Path("configs/demo").glob("*.json")}
    assert set(demo.SMALL) < whole and 3 <= len(demo.SMALL) <= 5


def test_what_cannot_be_done_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = featcache("demo", "--set", "training.epoch=3")
    assert refused.exit_code == 2 and "epochs" in refused.output
