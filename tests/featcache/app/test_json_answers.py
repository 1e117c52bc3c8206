"""`--json` in every command: JSON alone on standard output, every number in full, by names that the reference has."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import done, featcache
from conftest import TINY, write_digits
from typer.main import get_command

from featcache.app.json_answers import WITHOUT, plain
from featcache.app.main import app


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its name; those of a group too."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for part, one in inner.items():
        yield from commands(one, f"{name} {part}".strip())


ANSWERS = {name: one.callback.answers for name, one in commands(get_command(app)) if one.callback.answers}
SCHEDULE = [{"epoch": 1, "unfreeze": "all", "lr_scale": 0.5}]


def keys(value: Any) -> set[str]:
    """Of every object in it."""
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, options files, and room for results."""
    root = tmp_path_factory.mktemp("json")
    write_digits(root / "digits", {"train": 6, "val": 4, "test": 2})
    for name, backbone in (("one", TINY), ("two", "squeezenet1_1")):
        options: dict[str, Any] = {
            "experiment_name": name,
            "model": {
                **{"backbone": backbone, "input_size": 32, "classifier_dims": ["auto", 8, "auto"]},
                "pretrained": backbone == TINY,
            },
            "data": {"path": str(root / "digits"), "batch_size": 8, "workers": 1},
            "training": {"epochs": 2, "learning_rate": 0.01},
            "cache": {"dir": str(root / "cache"), "batch_size": 8},
            "profile": {"iterations": 2, "warmup": 0},
        }
        save(root / "configs" / f"{name}.json", options)
        options["training"]["unfreeze_schedule"] = SCHEDULE
        save(root / f"{name}-tuned.json", {**options, "experiment_name": f"{name}-tuned"})
    done("train", root / "configs", "--results-dir", root / "results", "--allow-custom", "-q")
    return root


def save(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document))


@dataclass
class Asked:
    """A command of those below, asked for JSON."""

    place: Path

    def __call__(self, line: str, code: int = 0) -> Any:
        """The JSON on standard output, read; `line` names places below the folder as `@..`."""
        store = next((self.place / "cache").glob("conftest*.h5")).stem
        given = [part.replace("@", f"{self.place}/").replace("STORE", store) for part in line.split()]
        answered = featcache(*given, "--json")
        assert answered.exit_code == code, answered.output
        return json.loads(answered.stdout)  # which fails for anything beside it


@pytest.fixture
def asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    for module in ("benchmark", "report"):  # the page is others' to test
        monkeypatch.setattr(f"featcache.app.commands.{module}.write_page", lambda *_: place / "report.html")
    monkeypatch.setattr("featcache.app.commands.benchmark.audit_data", lambda *_: None)
    return Asked(place)


LINES = {
    "show": "show @digits --cache-dir @cache",
    "split": "split @digits --out @split.csv --cache-dir @cache",
    "extract": "extract @configs --allow-custom",
    "train": "train @configs --results-dir @results --allow-custom",
    "benchmark": "benchmark @configs --results-dir @results --allow-custom",
    "report": "report --results-dir @results",
    "finetune": "finetune @two-tuned.json --results-dir @results --allow-custom --device cpu",
    "combine": "combine one two --results-dir @results",
    "predict": "predict one @digits/test --results-dir @results --allow-custom",
    "export": "export two --to safetensors --results-dir @results --allow-custom",
    "audit": "audit --results-dir @results",
    "backbones": "backbones squeezenet1_1",
    "cache list": "cache list --cache-dir @cache",
    "cache verify": "cache verify --cache-dir @cache",
    "cache prune": "cache prune --max-gb 0 --dry-run --cache-dir @cache",
    # Last: what they make, others need not see.
    "cache split": "cache split STORE --rows 8 --to @parts --cache-dir @cache",
    "cache merge": "cache merge STORE --to @merged --cache-dir @parts",
}
ELSEWHERE = {  # whose own tests read their JSON, or that are others by another name
    "check": "test_commands.py",
    "sweep": "test_sweep_command.py",
    "curve": "test_curve_command.py",
    "distill": "test_distill.py",
    "soup": "test_soup_runs.py",
    "profile": "test_export_command.py",
    "demo": "test_demo_command.py",
}


def test_every_command_answers_in_json_or_says_why_not() -> None:
    with_json = {
        name for name, one in commands(get_command(app)) if any("--json" in parameter.opts for parameter in one.params)
    }
    everyone = {name for name, _ in commands(get_command(app))}
    assert with_json == set(ANSWERS)
    assert everyone - with_json == set(WITHOUT), "a new command takes the shared option json, and says what it answers"
    assert set(ANSWERS) == set(LINES) | set(ELSEWHERE)
    for name in ELSEWHERE.values():
        (file,) = Path("tests").rglob(name)
        assert '"--json"' in file.read_text()


@pytest.mark.parametrize("name", LINES)
def test_the_json_is_alone_and_has_what_the_reference_says(name: str, asked: Asked) -> None:
    document = asked(LINES[name])
    assert set(re.findall(r"`([a-z_]+)`", ANSWERS[name])) <= keys(document)


def test_the_leaderboards_rows_are_those_of_the_file_in_full(asked: Asked, place: Path) -> None:
    board = asked(LINES["report"])
    with (place / "results" / "leaderboard.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["run"] for row in board["rows"]] == [row["run"] for row in table]
    for row, told in zip(table, board["rows"], strict=True):
        assert {name: "" if told[name] is None else str(told[name]) for name in row} == row
    summary = json.loads((place / "results" / "one" / "summary.json").read_text())
    (one,) = (row for row in board["rows"] if row["run"] == "one")
    assert one["val_loss"] == summary["val"]["loss"]["mean"]  # not rounded


def test_failures_are_in_it_and_the_exit_code_stays(asked: Asked, place: Path) -> None:
    failed = asked("extract @configs --allow-custom --set data.path=/nowhere", code=2)
    assert failed["stores"] == [] and [one["name"] for one in failed["failed"]] == ["one", "two"]
    assert "/nowhere" in failed["failed"][0]["error"]


def test_a_file_may_be_left_out_where_one_can_be_named(place: Path, tmp_path: Path) -> None:
    named = ("combine", "one", "two", "--results-dir", place / "results")
    printed = json.loads(featcache(*named, "--json", "-q").stdout)
    shown = featcache(*named, "--json", tmp_path / "said.json")
    assert "val top-1" in shown.stdout and json.loads((tmp_path / "said.json").read_text()) == printed
    assert json.loads(featcache(*named, "--json", "-").stdout) == printed
    refused = featcache(*named, "--json", tmp_path)
    assert refused.exit_code == 2 and "is a folder" in refused.output


def test_what_is_no_number_is_null_and_what_is_none_of_json_is_refused() -> None:
    found = plain({"a": float("nan"), "b": np.float32(0.1), "c": (Path("x"), np.arange(2)), 1: {True}})
    assert found == {"a": None, "b": float(np.float32(0.1)), "c": ["x", [0, 1]], "1": [True]}
    with pytest.raises(TypeError):
        plain({"a": object()})
