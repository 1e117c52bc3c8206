"""`featcache cache`: list, verify, repair, prune, as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import done, featcache

from featcache.store.upkeep import stores

Config = Callable[..., dict[str, Any]]


@pytest.fixture
def cache(tmp_path: Path, config: Config) -> Path:
    """Two stores; a run was trained on the first."""
    for name, size in (("first", 32), ("second", 40)):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(config(name, model={"input_size": size})))
    result = featcache("train", tmp_path / "first.json", "--results-dir", tmp_path / "results")
    assert result.exit_code == 0, result.output
    assert featcache("extract", tmp_path / "second.json").exit_code == 0
    return tmp_path / "cache"


def test_list_verify_repair_and_extract_again(cache: Path, tmp_path: Path) -> None:
    listed = featcache("cache", "list", "--cache-dir", cache)
    assert listed.exit_code == 0
    assert listed.output.count("squeezenet1_1-") == 2 and "84" in listed.output and "digits" in listed.output
    assert featcache("cache", "verify", "--cache-dir", cache).exit_code == 0
    damaged = stores(cache)[0]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged.write_bytes(bytes(data))
    found = featcache("cache", "verify", "--cache-dir", cache)
    assert found.exit_code == 1
    assert f"{damaged}: DAMAGED" in found.output and "--repair" in found.output
    repaired = featcache("cache", "verify", "--repair", "--cache-dir", cache)
    assert repaired.exit_code == 0 and "repaired" in repaired.output
    assert featcache("cache", "verify", "--cache-dir", cache).exit_code == 0
    again = featcache("train", tmp_path / "first.json", "--results-dir", tmp_path / "results")
    assert again.exit_code == 0, again.output


def test_prune_needs_to_be_told_what(cache: Path) -> None:
    result = featcache("cache", "prune", "--cache-dir", cache)
    assert result.exit_code == 2 and "--unused" in result.output
    assert len(stores(cache)) == 2


def test_prune_what_no_run_was_trained_on(cache: Path, tmp_path: Path) -> None:
    arguments = ("cache", "prune", "--unused", "--cache-dir", cache, "--results-dir", tmp_path / "results")
    dry = featcache(*arguments, "--dry-run")
    assert dry.exit_code == 0 and "would go" in dry.output and len(stores(cache)) == 2
    result = featcache(*arguments)
    assert result.exit_code == 0 and "removed" in result.output
    (left,) = stores(cache)
    assert left.name.startswith("squeezenet1_1-32-")


def test_prune_does_not_take_a_mistyped_folder_for_no_run_at_all(cache: Path, tmp_path: Path) -> None:
    arguments = ("cache", "prune", "--unused", "--cache-dir", cache, "--results-dir")
    result = featcache(*arguments, tmp_path / "reslts")
    assert result.exit_code == 2 and "holds no finished run" in result.output
    (tmp_path / "results" / "torn").mkdir()
    (tmp_path / "results" / "torn" / "summary.json").write_text("{")
    result = featcache(*arguments, tmp_path / "results")
    assert result.exit_code == 2 and "cannot be read" in result.output
    assert len(stores(cache)) == 2


def test_prune_by_size(cache: Path) -> None:
    assert featcache("cache", "prune", "--max-gb", "0", "--cache-dir", cache).exit_code == 0
    assert stores(cache) == []


def test_a_cache_that_is_not_there(tmp_path: Path) -> None:
    for command in ("list", "verify", "prune"):
        extra = ("--max-gb", "1") if command == "prune" else ()
        result = featcache("cache", command, "--cache-dir", tmp_path / "nowhere", *extra)
        assert result.exit_code == 2 and "nowhere" in result.output


def test_a_cache_at_a_url_serves_every_command_as_a_folder_does(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    place = f"memory://{tmp_path.name}/cache"
    there = ("--cache-dir", place)
    first, again = tmp_path / "results", tmp_path / "again"
    train = ("train", tmp_path / "first.json", *there, "--set", "cache.shard_rows=30", "--results-dir", again)
    for said in ("84 new", "0 new"):
        extracted = done("extract", tmp_path / "first.json", *there, "--set", "cache.shard_rows=30")
        assert f"{place}/squeezenet1_1-32-" in extracted.output and said in extracted.output
    done(*train)
    here, remote = (json.loads((folder / "first" / "summary.json").read_text()) for folder in (first, again))
    assert here["val"] == remote["val"] and here["test"] == remote["test"] and remote["cache_dir"] == place
    assert "leaderboard" in done("report", "--results-dir", again).output
    name = remote["stores"][0].removesuffix(".h5")
    assert "3 parts" in done("cache", "list", *there).output
    assert "whole, 84 rows in 3 parts" in done("cache", "verify", *there).output
    merged = json.loads(done("cache", "merge", name, *there, "--to", tmp_path / "merged", "--json").stdout)
    assert merged == {"store": str(tmp_path / "merged" / f"{name}.h5"), "rows": 84}
    assert (tmp_path / "merged" / f"{name}.h5").exists()
    told = json.loads(done("cache", "verify", *there, "--json").stdout)["stores"]
    assert [(one["ok"], one["rows"], one["parts"], one["faults"]) for one in told] == [(True, 84, 3, [])]
    extracted = json.loads(done("extract", tmp_path / "first.json", *there, "--json").stdout)["stores"]
    assert [one["store"] for one in (*told, *extracted)] == [f"{place}/{name}"] * 2
    assert json.loads(done("cache", "list", *there, "--json").stdout)["stores"][0]["parts"] == 3
    assert "84 rows in 2 parts" in done("cache", "split", name, "--rows", "50", "--cache-dir", cache).output
    assert "84 rows reused, 0 new" in done("extract", tmp_path / "first.json").output
    unknown = featcache("cache", "merge", "resnet", *there)
    assert unknown.exit_code == 2 and f"Expected one of {name}" in " ".join(unknown.output.split())
    pruned = done("cache", "prune", "--unused", *there, "--results-dir", again)
    assert "removed" not in pruned.output
    assert "84 rows" in done("cache", "verify", *there).output  # a run was trained on it
    assert featcache("extract", tmp_path / "first.json", "--cache-dir", "ftp://host/x").exit_code == 2


def test_check_says_what_views_cost(tmp_path: Path, config: Config) -> None:
    file = tmp_path / "views.json"
    file.write_text(json.dumps(config(data={"augmentations": ["horizontal_flip", "random_crop"]})))
    result = featcache("check", file)
    assert result.exit_code == 0, result.output
    assert "228 forward passes" in result.output  # 84 images, and 3 views of each of 48
    assert "144 for data.views 4 (3 augmented views of each training image)" in result.output
