"""Whatever somebody adds touches two files at most, or none with a package of their own, and arrives everywhere.

All twelve are added to one copy of the code, which is then used: what it writes and says must have each of them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from additions import ADDITIONS, PACKAGE, PLUGIN
from conftest import write_digits

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Used:
    """The copy after it was used."""

    results: Path
    said: dict[str, dict[str, Any]]  # by command: code, out, err

    def out(self, command: str) -> str:
        return str(self.said[command]["out"])

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.results / "run" / "summary.json").read_text())
        return found

    def rows(self, file: str) -> list[dict[str, str]]:
        with (self.results / file).open() as stream:
            return list(csv.DictReader(stream))

    @property
    def page(self) -> str:
        return (self.results / "report.html").read_text()

    @property
    def markdown(self) -> str:
        return (self.results / "report.md").read_text()

    @property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out("schema"))
        return found


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Used:
    root = tmp_path_factory.mktemp("two_files")
    copy, site = root / "code", root / "site"
    for package in ("featcache", "heads", "configs"):
        shutil.copytree(ROOT / package, copy / package)  # as it is compiled, too
    for addition in ADDITIONS.values():
        addition.apply(copy)
    _install(site)
    digits = write_digits(root / "digits", {"train": 12, "val": 5, "test": 4})
    config = _config(root, digits)
    (root / "run.json").write_text(json.dumps(config))
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "training.optimizer": ["planted_sgd"]}
    sweep = {"base": str(root / "run.json"), "space": space, "sampler": "planted_sampler", "trials": 4, "seeds": 1}
    (root / "sweep.json").write_text(json.dumps({**sweep, "objective": "planted_objective"}))
    results = ["--results-dir", str(root / "results")]
    chosen = ["--set", "experiment_name=by_brier", "--set", "training.selection_metric=val_planted_brier"]
    commands = {
        "benchmark": ["benchmark", str(root / "run.json"), *results],
        "train": ["train", str(root / "run.json"), *chosen, *results],
        "sweep": ["sweep", str(root / "sweep.json"), *results],
        "audit": ["audit", *results],
        "report": ["report", *results],
        "markdown": ["report", "--format", "md", *results],
        "schema": ["schema"],
        "schema of sweeps": ["schema", "--sweep"],
        "planted": ["planted", *results],
        "help": ["--help"],
        "backbones": ["backbones", "planted*"],
    }
    (root / "commands.json").write_text(json.dumps(commands))
    script = Path(__file__).with_name("use_additions.py")
    environment = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{site}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(root / "commands.json"), str(root / "said.json")],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = Used(root / "results", json.loads((root / "said.json").read_text()))
    failed = {name: one for name, one in found.said.items() if one["code"]}
    assert not failed, failed
    return found


def _install(site: Path) -> None:
    """A package with the entry points, as an installer leaves it."""
    info = site / f"{PLUGIN}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{PLUGIN}.py").write_text(PACKAGE)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PLUGIN}\nVersion: 1.0\n")
    points = [one.entry_point for one in ADDITIONS.values() if one.entry_point is not None]
    (info / "entry_points.txt").write_text(
        "\n".join(f"[{group}]\n{name} = {PLUGIN}:{value}" for group, name, value in points)
    )


def _config(root: Path, digits: Path) -> dict[str, Any]:
    return {
        "experiment_name": "run",
        "model": {
            "backbone": "planted_network",
            "source": "planted_library",
            "classifier_dims": ["auto", 16, 4],
            "pretrained": False,
        },
        "data": {
            "path": str(digits),
            "batch_size": 16,
            "augmentations": ["planted_flip"],
            "planted_note": "to remember",
        },
        "training": {"epochs": 3, "seeds": 2, "optimizer": "planted_sgd", "selection_metric": "val_planted_metric"},
        "cache": {"dir": str(root / "cache"), "batch_size": 8},
        "profile": {"iterations": 3, "warmup": 1},
    }


@pytest.mark.parametrize("kind", ADDITIONS)
def test_an_addition_touches_two_files_at_most(kind: str) -> None:
    assert len(ADDITIONS[kind].files) <= 2
    assert len(ADDITIONS) == 14  # twelve kinds, two of them in the code and by a package


def test_a_backbone_library(used: Used) -> None:
    assert used.summary["source"] == "planted_library"
    assert used.rows("leaderboard.csv")[0]["backbone"] == "planted_network"
    assert all("planted_network" in text for text in (used.out("benchmark"), used.page, used.out("backbones")))


def test_a_measure(used: Used) -> None:
    assert used.summary["separability"]["planted_measure"] == 64
    assert float(used.rows("leaderboard.csv")[0]["planted_measure"]) == 64
    assert '<button type="button" title="how many features there are">planted</button>' in used.page
    assert "planted measure" in used.page  # in the table of measures
    assert "| planted |" in used.markdown
    assert (used.results / "figures" / "separability_planted_measure.svg").is_file()


def test_a_metric(used: Used) -> None:
    assert used.summary["val"]["planted_metric"]["mean"] == used.summary["test"]["planted_metric"]["mean"] == 1
    assert {row["val_planted_metric"] for row in used.rows("run/metrics.csv")} == {"1.0"}
    row = used.rows("leaderboard.csv")[0]
    assert (row["val_planted_metric"], row["test_planted_metric"]) == ("1.0", "1.0")
    assert 0.5 < float(row["val_planted_metric_low"]) < 1  # the same on every image seen: not sure of others
    assert "val planted metric" in used.out("benchmark") and "val planted metric" in used.page


def test_a_metric_and_a_measure_in_the_code(used: Used) -> None:
    row = used.rows("leaderboard.csv")[0]
    assert 0 < float(row["val_planted_brier"]) < 1 and float(row["planted_spread"]) > 0
    assert all(0 < float(epoch["val_planted_brier"]) < 1 for epoch in used.rows("run/metrics.csv"))
    assert all(text in used.out("benchmark") for text in ("val planted Brier", "spread"))
    assert all(text in used.page for text in ("val planted Brier", "planted spread"))
    chosen = json.loads((used.results / "by_brier" / "summary.json").read_text())
    assert chosen["selection_metric"] == "val_planted_brier"
    assert "val_planted_brier" in used.schema["$defs"]["TrainingOptions"]["properties"]["selection_metric"]["enum"]


def test_an_augmentation(used: Used) -> None:
    assert used.summary["data"]["views"] == 4
    assert any("planted_flip" in json.dumps(one) for one in used.schema["$defs"].values())


def test_a_sampler_and_an_objective(used: Used) -> None:
    trials = used.rows("sweeps/sweep/trials.csv")
    assert len(trials) == 4
    assert all(float(t["value_planted_objective"]) == pytest.approx(2 * float(t["val_top1"])) for t in trials)
    document = json.loads((used.results / "sweeps" / "sweep" / "sweep.json").read_text())
    assert document["options"]["sampler"] == "planted_sampler"
    assert all(name in used.page for name in ("planted_sampler", "planted_objective"))
    assert "planted_objective" in used.out("schema of sweeps")
    assert (used.results / "sweeps" / "sweep" / "history.csv").read_text().startswith("trial,best_planted_objective")


def test_an_optimiser(used: Used) -> None:
    options = json.loads((used.results / "run" / "options.json").read_text())
    assert options["training"]["optimizer"] == "planted_sgd"
    assert "planted_sgd" in used.schema["$defs"]["TrainingOptions"]["properties"]["optimizer"]["enum"]


def test_a_column_of_the_leaderboard(used: Used) -> None:
    assert {row["planted_column"] for row in used.rows("leaderboard.csv")} == {"2"}
    assert (
        "planted heads" in used.out("benchmark")
        and "planted heads" in used.page
        and "| planted heads |" in used.markdown
    )


def test_a_figure(used: Used) -> None:
    assert 'id="figure-planted_figure"' in used.page
    assert "![Planted figure](figures/planted_figure.png)" in used.markdown
    assert all((used.results / "figures" / f"planted_figure.{end}").is_file() for end in ("svg", "png"))


def test_a_finding_of_the_audit(used: Used) -> None:
    (file,) = (used.results / "audit").glob("*.json")
    (further,) = json.loads(file.read_text())["further"]
    assert (further["name"], len(further["lines"])) == ("planted_finding", 12)
    assert "12 planted." in used.out("audit") and "12 planted." in used.said["benchmark"]["err"]
    assert "Planted finding" in used.out("audit") and "Planted finding" in used.page


def test_a_command(used: Used) -> None:
    assert used.out("planted") == f"planted: {used.results}\n"
    assert "Say where runs are." in used.out("help")


def test_an_option(used: Used) -> None:
    assert used.summary["planted_note"] == "to remember"
    assert used.schema["$defs"]["DataOptions"]["properties"]["planted_note"]["description"]
