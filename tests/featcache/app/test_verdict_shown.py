"""The command line says which feature map separates best, and warns of images that were there in training."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from featcache.app.main import app
from heads.leaderboard.ranked_results import rank_results
from heads.leaderboard.verdict_text import verdict

Config = Callable[..., dict[str, Any]]


@pytest.fixture
def configs(tmp_path: Path, config: Config) -> Path:
    """Options files of two networks in a folder."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, backbone in (("squeeze", "squeezenet1_1"), ("shuffle", "shufflenet_v2_x0_5")):
        (folder / f"{name}.json").write_text(json.dumps(config(name, model={"backbone": backbone})))
    return folder


@pytest.fixture
def featcache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A command on the results of this test; draws no page, which has tests of its own."""
    for name in ("benchmark", "report"):
        module = import_module(f"featcache.app.commands.{name}")
        monkeypatch.setattr(module, "write_page", lambda *_: tmp_path / "report.html")

    def call(command: str, *arguments: str | Path) -> Result:
        every = [command, *map(str, arguments), "--results-dir", str(tmp_path / "results")]
        result = CliRunner().invoke(app, every)
        assert result.exit_code == 0, result.output
        return result

    return call


def sentences(results: Path) -> list[str]:
    return verdict(rank_results(results))


def warnings(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if "leaked" in line]


def test_benchmark_and_report_say_it_below_the_leaderboard(
    tmp_path: Path, configs: Path, featcache: Callable[..., Result]
) -> None:
    results = tmp_path / "results"
    shown = [featcache("benchmark", configs), featcache("report")]
    said = sentences(results)
    said = [line for line in said if "most frequent class" not in line]  # of so few images it may be there
    assert len(said) >= 4
    assert "most separable feature map of 2" in said[0]
    for result in shown:
        at = [result.stdout.splitlines().index(line) for line in said]  # whole lines, in their order
        assert at == sorted(at)
        assert result.stdout.index("val top-3") < result.stdout.index(said[0])
        assert not warnings(result)
    rows = list(csv.DictReader((results / "leaderboard.csv").read_text().splitlines()))
    for row in rows:
        summary = json.loads((results / row["run"] / "summary.json").read_text())
        assert float(row["linear_probe"]) == summary["separability"]["linear_probe"]
        assert float(row["logme"]) == summary["separability"]["logme"]


def test_train_and_benchmark_warn_of_leaked_images_once_a_command(
    tmp_path: Path, digits: Path, configs: Path, featcache: Callable[..., Result]
) -> None:
    for number in range(2):
        shutil.copy(
            digits / "train" / "digit 0" / f"00{number}.png", digits / "test" / "digit 0" / f"copy {number}.png"
        )
    trained = featcache("train", configs)
    assert "most separable" not in trained.output  # one that trains is not asked which is best
    (line,) = warnings(trained)
    assert "2 of 18 test images" in line
    logs = [log.read_text() for log in (tmp_path / "results").glob("*/log.txt")]
    assert len(logs) == 2 and all(log.count("2 of 18 test images") == 1 for log in logs)  # each run's own figures
    again = featcache("benchmark", configs)  # finished before: the accuracies are as they were
    assert warnings(again) == [line]
    fresh = featcache("benchmark", configs, "--fresh", "--quiet")
    assert len(warnings(fresh)) == 1
