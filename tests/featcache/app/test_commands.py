"""The command line as a user meets it: commands, exit codes, messages."""

from __future__ import annotations

import csv
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_runs import featcache

from featcache.extraction import extract, extraction_time
from heads import head_times
from heads.finetune import tuning_time

Config = Callable[..., dict[str, Any]]


@pytest.fixture
def write(tmp_path: Path, config: Config) -> Callable[..., Path]:
    """An options file, made by `config`, in a folder of configs."""

    def make(name: str = "run", **sections: dict[str, Any]) -> Path:
        file = tmp_path / "configs" / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(config(name, **sections)))
        return file

    return make


def test_help_comes_before_torch_is_loaded() -> None:
    code = (
        "import sys, featcache, featcache.app.main\n"
        "try: featcache.app.main.app(['--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "slow = {'torch', 'torchvision', 'timm', 'h5py', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("benchmark", "train", "extract", "report", "backbones", "check", "cache"):
        assert command in done.stdout


def test_benchmark_ends_with_a_leaderboard(tmp_path: Path, write: Callable[..., Path]) -> None:
    slow = {"epochs": 20, "learning_rate": 5e-4, "selection_metric": "val_loss"}  # every epoch is better
    write("squeeze", model={"backbone": "squeezenet1_1"}, training=slow)
    write("shuffle", model={"backbone": "shufflenet_v2_x0_5"})
    results = tmp_path / "results"
    first = featcache("benchmark", tmp_path / "configs", "--results-dir", results)
    assert first.exit_code == 0, first.output
    for words in ("squeezenet1_1", "shufflenet_v2_x0_5", "val top-3", "* top 2:", "leaderboard.csv"):
        assert words in first.output
    assert first.output.count("warning: squeeze: the heads were still getting better") == 1  # at the end alone
    assert "squeezenet1_1: the heads were still getting better" not in first.output
    assert "squeezenet1_1: the heads were still getting better" in (results / "squeeze" / "log.txt").read_text()
    rows = list(csv.DictReader((results / "leaderboard.csv").read_text().splitlines()))
    assert {r["backbone"] for r in rows} == {"squeezenet1_1", "shufflenet_v2_x0_5"}
    stamps = {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")}
    second = featcache("benchmark", tmp_path / "configs", "--results-dir", results)
    assert second.exit_code == 0, second.output
    assert {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")} == stamps  # nothing trained twice
    fresh = featcache("benchmark", tmp_path / "configs", "--results-dir", results, "--fresh", "-q")
    assert fresh.exit_code == 0
    assert all(p.stat().st_mtime_ns > t for p, t in stamps.items())
    assert "rows reused" not in fresh.output


def test_tuned_heads_stand_beside_the_uniform_ones_and_one_failure_stays_one(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heads.training.recipes.NORMALISATIONS", ("standard",))
    write("squeeze")
    write("wrong", model={"weights": "no such file.pth", "pretrained": True})
    asked = ("benchmark", tmp_path / "configs", "--tuned", "--results-dir", results := tmp_path / "results")
    monkeypatch.setattr("featcache.app.commands.benchmark.write_page", lambda *_: None)
    done = featcache(*asked)
    assert done.exit_code == 1
    assert "no such file.pth" in done.output
    assert "1 run with a uniform head is left out" in " ".join(done.output.split())

    def rows(heads: str = "") -> list[tuple[str, str]]:
        if heads:
            told = featcache("report", "--heads", heads, "--format", "md", "--results-dir", results)
            assert told.exit_code == 0
            assert ("left out" in (results / "report.md").read_text()) == (heads != "all")
        return [(r["run"], r["head"]) for r in csv.DictReader((results / "leaderboard.csv").read_text().splitlines())]

    assert rows() == rows("tuned") == rows("auto") == [("squeeze-tuned", "tuned")]
    assert rows("uniform") == [("squeeze", "uniform")]
    assert sorted(rows("all")) == [("squeeze", "uniform"), ("squeeze-tuned", "tuned")]
    stamps = {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")}
    featcache(*asked)
    assert {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")} == stamps  # nothing trained twice
    assert "tuned" not in featcache("train", "--help").output


def test_the_fallback_to_random_weights_cannot_be_missed(tmp_path: Path, write: Callable[..., Path]) -> None:
    write(model={"pretrained": "if-available"})
    done = featcache("benchmark", tmp_path / "configs", "--results-dir", tmp_path / "results", "-q")
    assert done.exit_code == 0
    assert done.output.count("NO PRETRAINED WEIGHTS for 1 backbone,") == done.output.count("NO PRETRAINED WEIGHTS") == 1
    assert "says nothing about the pretrained networks" in done.output
    (row,) = csv.DictReader((tmp_path / "results" / "leaderboard.csv").read_text().splitlines())
    assert row["weights"].startswith("random(0)")


@pytest.mark.parametrize("command", ["extract", "train"])
def test_all_that_fell_back_are_named_in_one_warning(
    tmp_path: Path, write: Callable[..., Path], command: str, caplog: pytest.LogCaptureFixture
) -> None:
    write("a", model={"pretrained": "if-available"})
    write("b", model={"backbone": "shufflenet_v2_x0_5", "pretrained": "if-available"})
    more = ("--results-dir", tmp_path / "results") if command == "train" else ()
    done = featcache(command, tmp_path / "configs", "-q", *more)
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert said.count("NO PRETRAINED WEIGHTS could be had for squeezenet1_1, shufflenet_v2_x0_5:") == 1
    assert said.count("NO PRETRAINED WEIGHTS") == 1
    caplog.clear()
    log = logging.getLogger("featcache")
    log.handlers, log.propagate = [], True  # the command's own are closed
    extract(write("c", model={"pretrained": "if-available"}))  # from Python each is said at once
    assert [r.levelname for r in caplog.records if "NO PRETRAINED" in r.getMessage()] == ["WARNING"]


def test_what_is_said_of_the_data_is_said_once_for_all_backbones(
    tmp_path: Path, digits: Path, write: Callable[..., Path]
) -> None:
    (digits / "train" / "digit 0" / "bad.png").write_bytes(b"no image")
    for name, backbone in (("a", "squeezenet1_1"), ("b", "shufflenet_v2_x0_5")):
        write(name, model={"backbone": backbone}, data={"max_bad_fraction": 0.1})
    done = featcache("extract", tmp_path / "configs")
    assert done.exit_code == 0, done.output
    assert done.output.count("left out as unreadable") == 1


def test_one_failure_stays_one(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("a_no_weights", model={"pretrained": True})
    write("b_too_small", model={"backbone": "inception_v3", "input_size": 64})
    write("c_good")
    done = featcache("benchmark", tmp_path / "configs", "--results-dir", tmp_path / "results")
    assert done.exit_code == 1
    assert (tmp_path / "results" / "c_good" / "summary.json").exists()
    assert "2 of 3 configs failed" in done.output
    assert "a_no_weights" in done.output
    assert "b_too_small" in done.output
    assert "squeezenet1_1" in (tmp_path / "results" / "leaderboard.csv").read_text()


def test_extract_says_what_is_reused_and_new(tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write()
    assert "0 rows reused, 84 new, 0 bad" in featcache("extract", file).output
    assert "84 rows reused, 0 new, 0 bad" in featcache("extract", file).output


def test_cache_dir_and_set_override_the_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    done = featcache(
        "train", write(), "--cache-dir", tmp_path / "other cache", "--results-dir", tmp_path / "r",
        "--set", "training.epochs=2", "--set", "experiment_name=named",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "other cache").glob("*.h5"))
    assert json.loads((tmp_path / "r" / "named" / "options.json").read_text())["training"]["epochs"] == 2


@pytest.fixture
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibrations that take no time, of which no test here reads the figures."""
    for module in (extraction_time, head_times, tuning_time):
        monkeypatch.setattr(module, "SECONDS", 0.01)


@pytest.mark.usefixtures("_brief")
def test_check_says_what_tuned_heads_would_add(tmp_path: Path, write: Callable[..., Path]) -> None:
    file = write(training={"seeds": 2, "epochs": 3}, data={"folds": 2})
    assert "--tuned" not in featcache("check", file).output
    done = featcache("check", file, "--tuned")
    assert done.exit_code == 0, done.output
    # Of 15 recipes of the grid the options' own is one: 15 x 2 seeds x 2 folds, and the best 4 heads again.
    (seconds,) = re.findall(
        r"--tuned adds 64 heads \(15 recipes with every seed and fold, the best once more\): about (\d+) s", done.output
    )
    assert int(seconds) < 60
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").glob("*.h5"))
    unfrozen = write("end", training={"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]})
    refused = featcache("check", unfrozen, "--tuned")
    assert refused.exit_code == 2 and "unfreeze_schedule" in refused.output


@pytest.mark.usefixtures("_brief")
def test_check_computes_and_stores_nothing(tmp_path: Path, write: Callable[..., Path]) -> None:
    done = featcache("check", write(data={"augmentations": ["rotation"]}))
    assert done.exit_code == 0, done.output
    assert "228 forward passes" in done.output  # 84 images, and 3 more views of 48
    assert "512 features" in done.output
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.suffix == ".h5" or "timed" in file.name]


@pytest.mark.usefixtures("_brief")
def test_check_foretells_whole_commands(tmp_path: Path, write: Callable[..., Path]) -> None:
    files = [write("a"), write("b", training={"learning_rate": 0.1})]
    told = json.loads(featcache("check", *files, "--json").stdout)
    each = [config["estimates"][0]["time"] for config in told["configs"]]
    both = sum(sum(time.values()) for time in each)
    # Both read the same images at the same size: within one command they are decoded once.
    assert told["seconds"]["extract"] - both + each[1]["decode"] > 0
    assert told["seconds"]["train"] - told["seconds"]["extract"] == pytest.approx(
        sum(config["heads"]["training"] + config["heads"]["measuring"] for config in told["configs"])
    )
    unfrozen = write("end", training={"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]})
    said = featcache("check", unfrozen).output
    assert re.search(r"3 epochs of stem, .*, head: about [0-9.]+ s each", said)
    assert re.search(r"from an empty cache, in all: `extract` about \d+ s, `finetune` about \d+ s", said)


def test_a_command_ends_with_its_code_and_output_and_without_taking_modules_down() -> None:
    code = (
        "import atexit, sys; import featcache.app.main as main\n"
        "class Module:\n    def __del__(self): print('taken down')\n"
        "kept = Module()\n"
        "def app():\n    atexit.register(print, 'tidied'); print('said'); sys.exit(3)\n"
        "main.app = app; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\ntidied\n", "")


def test_backbones_lists_by_pattern() -> None:
    done = featcache("backbones", "resnet18")
    assert done.exit_code == 0
    assert ["resnet18", "torchvision", "512", "224", "IMAGENET1K_V1", "no"] in [
        line.split() for line in done.output.splitlines()
    ]
    nothing = featcache("backbones", "resnet_eighteen")
    assert nothing.exit_code == 2


def test_report_without_runs(tmp_path: Path) -> None:
    done = featcache("report", "--results-dir", tmp_path)
    assert done.exit_code == 2
    assert "holds no finished run" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "training.learning_rat=1"], "did you mean 'training.learning_rate'"),
        (["--set", "training.epochs=0"], "training.epochs"),
        (["--set", "training.epochs"], "expected KEY=VALUE"),
        (["--set", "model.backbone=resnet19"], "Nearest: resnet18"),
        (["--set", "model.classifier_dims=[2048,16,4]"], "gives 512 features"),
        (["--set", "model.classifier_dims=[512,16,3]"], "has 4 classes"),
        (["--set", "data.path=/no/such/folder"], "does not exist"),
        (["--set", "experiment_name=../up"], "no plain folder name"),
        (["--set", "model.backbone=os:getcwd"], "--allow-custom"),
        (["--set", "model.pretrained=true"], "missing file is squeezenet1_1"),
        (["--device", "cuda:7"], "--device cuda:7"),
        (["--device", "gpu"], "--device gpu"),
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(
    tmp_path: Path, write: Callable[..., Path], arguments: list[str], words: str
) -> None:
    done = featcache("train", write(), "--results-dir", tmp_path / "results", "-q", *arguments)
    assert done.exit_code == 2, done.output
    message = " ".join(done.output.split())
    assert words in message
    assert "Traceback" not in done.output
    assert len([p for p in done.output.split("\n\n") if p.strip()]) == 1
    assert not (tmp_path / "results").exists()


def test_verbose_shows_where_an_error_came_from(write: Callable[..., Path]) -> None:
    done = featcache("train", write(), "-v", "--set", "data.path=/no/such/folder")
    assert done.exit_code == 2
    assert "Traceback" in done.output


def test_every_fault_of_every_file_is_shown_before_any_work(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("a", training={"epochs": -1})
    write("b", model={"dropout": 3.0})
    write("c")
    done = featcache("benchmark", tmp_path / "configs", "--results-dir", tmp_path / "results")
    assert done.exit_code == 2
    assert "a.json: training.epochs" in done.output
    assert "b.json: model.dropout" in done.output
    assert not (tmp_path / "results").exists()


def test_unreadable_images_are_listed_and_too_many_fail(
    tmp_path: Path, write: Callable[..., Path], digits: Path
) -> None:
    (digits / "train" / "digit 0" / "broken.jpg").write_bytes(b"no image")
    results = tmp_path / "results"
    strict = featcache("train", write(), "--results-dir", results)
    assert strict.exit_code == 2
    assert "1 of 85 files (1.2%)" in " ".join(strict.output.split())
    assert "max_bad_fraction" in strict.output
    lenient = featcache("train", write(data={"max_bad_fraction": 0.05}), "--results-dir", results)
    assert lenient.exit_code == 0, lenient.output
    assert "broken.jpg" in lenient.output
    (listed,) = (tmp_path / "cache" / "quarantine").glob("*.csv")
    (row,) = csv.DictReader(listed.read_text().splitlines())
    assert row["path"] == "train/digit 0/broken.jpg"
    assert "not an image" in row["reason"]
