"""`featcache finetune` as a user meets it: what it fine-tunes, what the leaderboard says then, what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_runs import featcache
from conftest import write_digits
from torchvision import models
from typer.testing import Result

BACKBONES = {
    "normed": "resume_networks:normed",
    "plain": "resume_networks:plain",
    "squeeze": "squeezenet1_1",
}
SCHEDULE = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]


def write_config(file: Path, place: Path, backbone: str, **sections: dict[str, Any]) -> Path:
    options: dict[str, Any] = {
        "experiment_name": file.stem,
        "model": {"backbone": backbone, "input_size": 32, "classifier_dims": ["auto", 16, "auto"], "pretrained": True},
        "data": {"path": str(place / "digits"), "batch_size": 16, "workers": 1},
        "training": {"epochs": 4, "learning_rate": 0.01},
        "cache": {"dir": str(place / "cache"), "batch_size": 16},
        "profile": {"iterations": 2, "warmup": 0},
    }
    if ":" not in backbone:
        options["model"]["weights"] = str(place / "squeezenet1_1.pth")
    for section, values in sections.items():
        options[section].update(values)
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(json.dumps(options))
    return file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, their features, and three finished Phase 1 runs in `phase1`."""
    folder = tmp_path_factory.mktemp("place")
    write_digits(folder / "digits", {"train": 12, "val": 5, "test": 4})
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1().state_dict(), folder / "squeezenet1_1.pth")
    for name, backbone in BACKBONES.items():
        write_config(folder / "configs" / f"{name}.json", folder, backbone)
    done = featcache("benchmark", folder / "configs", "--results-dir", folder / "phase1", "--allow-custom", "-q")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def results(place: Path, tmp_path: Path) -> Path:
    """The three runs, for one test alone."""
    folder = tmp_path / "results"
    shutil.copytree(place / "phase1", folder)
    return folder


@pytest.fixture
def by(place: Path, tmp_path: Path) -> Path:
    """The options to fine-tune by."""
    training = {"epochs": 3, "learning_rate": 0.01, "unfreeze_schedule": SCHEDULE}
    return write_config(tmp_path / "by.json", place, "resnet18", training=training)


Tune = Callable[..., Result]


@pytest.fixture
def tune(results: Path) -> Tune:
    """`featcache finetune` with the results of this test."""

    def call(*arguments: str | Path) -> Result:
        return featcache("finetune", *arguments, "--results-dir", results, "--allow-custom")

    return call


def summary(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return value


def options(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "options.json").read_text())
    return value


def board(results: Path) -> dict[str, dict[str, str]]:
    return {row["run"]: row for row in csv.DictReader((results / "leaderboard.csv").read_text().splitlines())}


def tuned(results: Path) -> set[str]:
    return {p.name for p in results.iterdir() if p.name.endswith("-phase2")}


def test_the_top_three_are_fine_tuned_and_stand_beside_where_they_came_from(
    results: Path, tune: Tune, by: Path
) -> None:
    first = tune("--top", "3", by)
    assert first.exit_code == 0, first.output
    assert tuned(results) == {f"{name}-phase2" for name in BACKBONES}
    rows = board(results)
    assert len(rows) == 6
    for name in BACKBONES:
        row = rows[f"{name}-phase2"]
        assert (row["phase"], row["from_run"], row["backbone"]) == ("2", name, BACKBONES[name])
        gain = float(row["val_top1"]) - float(rows[name]["val_top1"])
        assert float(row["gain_top1"]) == pytest.approx(gain)
        assert float(row["gain_top1_low"]) <= gain <= float(row["gain_top1_high"])
        assert (rows[name]["phase"], rows[name]["from_run"], rows[name]["gain_top1"]) == ("1", "", "")
        assert f"over run {name}" in first.output
        assert summary(results / f"{name}-phase2")["from_run"] == name
    stamps = {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")}
    again = tune("--top", "3", by)
    assert again.exit_code == 0 and again.output.count("finished before") == 3
    assert {p: p.stat().st_mtime_ns for p in results.glob("*/summary.json")} == stamps
    assert set(board(results)) == set(rows)
    assert not [p for p in results.iterdir() if p.name.startswith(".")]


def test_the_top_two_are_the_first_two_of_the_leaderboard(results: Path, tune: Tune, by: Path) -> None:
    assert featcache("report", "--results-dir", results).exit_code == 0
    first = list(board(results))[:2]
    done = tune("--top", "2", by)
    assert done.exit_code == 0, done.output
    assert tuned(results) == {f"{name}-phase2" for name in first}


def edit(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))


def test_the_top_by_pareto_is_as_accurate_or_as_fast_as_any(results: Path, tune: Tune, by: Path) -> None:
    # As if measured: of equal accuracy, squeeze is the fastest, so that it alone is on the front.
    for name, milliseconds in {"normed": 9.0, "plain": 8.0, "squeeze": 1.0}.items():
        edit(results / name / "performance.json", lambda v, ms=milliseconds: v["latency_ms"].update(mean=ms))
        (results / name / "predictions.npz").write_bytes((results / "plain" / "predictions.npz").read_bytes())
        figures = summary(results / "plain")
        edit(results / name / "summary.json", lambda v, f=figures: v.update(val=f["val"]))
    done = tune("--top", "1", "--by", "pareto", by)
    assert done.exit_code == 0, done.output
    assert tuned(results) == {"squeeze-phase2"}


def test_the_top_by_separability_has_the_largest_logme(results: Path, tune: Tune, by: Path) -> None:
    scores = {name: summary(results / name)["separability"]["logme"] for name in BACKBONES}
    assert len(set(scores.values())) == 3
    done = tune("--top", "1", "--by", "separability", by)
    assert done.exit_code == 0, done.output
    assert tuned(results) == {f"{max(scores, key=lambda n: scores[n])}-phase2"}
    assert {name: float(board(results)[name]["logme"]) for name in BACKBONES} == scores


def first_epoch(run: Path) -> dict[str, str]:
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return next(row for row in rows if row["epoch"] == "0")


def still(place: Path, file: Path) -> Path:
    """Options that train so little that the head stays as it begins."""
    training = {"epochs": 1, "learning_rate": 1e-12, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "last_block"}]}
    return write_config(file, place, "resnet18", training=training)


@pytest.mark.parametrize("way", ["--top", "--from-run", "--top --with-heads"])
def test_with_which_head_training_begins(results: Path, tune: Tune, place: Path, tmp_path: Path, way: str) -> None:
    for other in ("normed", "squeeze"):
        shutil.rmtree(results / other)
    arguments = ["--from-run", str(results / "plain")] if way == "--from-run" else ["--top", "1", *way.split()[1:]]
    done = tune(*arguments, still(place, tmp_path / "still.json"))
    assert done.exit_code == 0, done.output
    heads = [
        torch.load(results / name / "best_model.pth", weights_only=True)["head"] for name in ("plain", "plain-phase2")
    ]
    kept = all(torch.allclose(heads[0][n], heads[1][n], atol=1e-6) for n in heads[0])
    assert kept == (way != "--top")
    if kept:
        before, after = (summary(results / n)["val"]["loss"]["mean"] for n in ("plain", "plain-phase2"))
        assert after == pytest.approx(before, rel=1e-3)


@pytest.mark.slow
def test_the_heads_of_a_run_and_fresh_ones_are_two_results(results: Path, tune: Tune, by: Path) -> None:
    assert tune("--from-run", results / "plain", by).exit_code == 0
    losses = float(first_epoch(results / "plain-phase2")["train_loss"])
    done = tune("--top", "3", by)
    assert done.exit_code == 0 and done.output.count("finished before") == 0
    assert float(first_epoch(results / "plain-phase2")["train_loss"]) > losses


def test_from_run_takes_the_model_and_images_of_the_run_and_the_training_of_the_config(
    results: Path, tune: Tune, by: Path
) -> None:
    done = tune("--from-run", f"{results / 'normed'}/", by)
    assert done.exit_code == 0, done.output
    assert tuned(results) == {"normed-phase2"}
    found, own = options(results / "normed-phase2"), options(results / "normed")
    assert found["model"] == own["model"]
    assert found["data"]["path"] == own["data"]["path"] and found["cache"]["dir"] == own["cache"]["dir"]
    assert found["training"]["epochs"] == 3 and len(found["training"]["unfreeze_schedule"]) == 2
    assert board(results)["normed-phase2"]["from_run"] == "normed"


def test_from_run_without_a_config_takes_the_shipped_one(
    results: Path, tune: Tune, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # no configs/ here
    few = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.1}]
    done = tune(
        "--from-run", results / "plain",
        "--set", "training.epochs=3", "--set", f"training.unfreeze_schedule={json.dumps(few)}",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = options(results / "plain-phase2")
    assert [a["name"] for a in found["data"]["augmentations"]] == ["horizontal_flip", "random_crop"]
    assert found["training"]["learning_rate"] == 1e-4


@pytest.mark.parametrize("where", [".", "../plain", "../normed/../plain"])
def test_from_run_is_the_folder_however_it_is_written(
    results: Path, by: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.chdir(results / "plain")
    done = featcache("finetune", "--from-run", where, by, "--results-dir", "..", "--allow-custom")
    assert done.exit_code == 0, done.output
    assert tuned(results) == {"plain-phase2"}
    assert board(results)["plain-phase2"]["from_run"] == "plain"


def test_a_run_with_a_long_name_can_be_fine_tuned(results: Path, tune: Tune, by: Path) -> None:
    name = "n" * 117
    (results / "plain").rename(results / name)
    done = tune("--from-run", results / name, by)
    assert done.exit_code == 0, done.output
    assert [r["from_run"] for r in board(results).values() if r["phase"] == "2"] == [name]


def test_set_reaches_what_is_fine_tuned(results: Path, tune: Tune, by: Path, place: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(place / "digits", moved)  # the same images
    done = tune(
        "--from-run", results / "plain", by, "--cache-dir", tmp_path / "other cache",
        "--set", "model.dropout=0.5", "--set", f"data.path={moved}", "--set", "training.epochs=4",
        "--set", "experiment_name=named", "--set", "data.batch_size=8",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = options(results / "named")
    assert (found["model"]["dropout"], found["data"]["path"], found["data"]["batch_size"]) == (0.5, str(moved), 8)
    assert found["training"]["epochs"] == 4
    assert list((tmp_path / "other cache").glob("*.h5"))
    assert board(results)["named"]["from_run"] == "plain"


def test_configs_are_fine_tuned_as_they_are(tmp_path: Path, place: Path) -> None:
    training = {"epochs": 3, "unfreeze_schedule": SCHEDULE}
    for name in ("a", "b"):
        write_config(tmp_path / "configs" / f"{name}.json", place, BACKBONES["plain"], training=training)
    done = featcache("finetune", tmp_path / "configs", "--results-dir", tmp_path / "r", "--allow-custom")
    assert done.exit_code == 0, done.output
    assert {n: (row["phase"], row["from_run"]) for n, row in board(tmp_path / "r").items()} == {
        "a": ("2", ""),
        "b": ("2", ""),
    }


def test_a_last_batch_of_one_image_trains(tmp_path: Path, place: Path) -> None:
    training = {"epochs": 2, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]}
    model = {"input_size": 16}  # the last batch norms see one value of each channel
    file = write_config(
        tmp_path / "odd.json", place, BACKBONES["normed"], model=model, data={"batch_size": 47}, training=training
    )
    done = featcache("finetune", file, "--results-dir", tmp_path / "r", "--allow-custom")
    assert done.exit_code == 0, done.output
    assert len((tmp_path / "r" / "odd" / "metrics.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize("command", ["benchmark", pytest.param("train", marks=pytest.mark.slow)])
def test_other_commands_take_a_schedule(tmp_path: Path, place: Path, command: str) -> None:
    file = write_config(
        tmp_path / "tuned.json", place, BACKBONES["plain"], training={"epochs": 3, "unfreeze_schedule": SCHEDULE}
    )
    first = featcache(command, file, "--results-dir", tmp_path / "r", "--allow-custom")
    assert first.exit_code == 0, first.output
    assert summary(tmp_path / "r" / "tuned")["phase"] == 2
    again = featcache("finetune", file, "--results-dir", tmp_path / "r", "--allow-custom")
    assert again.exit_code == 0 and "finished before" in again.output


def test_check_takes_a_schedule_and_trains_nothing(tmp_path: Path, place: Path) -> None:
    training = {"epochs": 3, "unfreeze_schedule": SCHEDULE}
    file = write_config(
        tmp_path / "tuned.json", place, BACKBONES["plain"], training=training, cache={"dir": str(tmp_path / "cache")}
    )
    done = featcache("check", file, "--allow-custom")
    assert done.exit_code == 0, done.output
    assert "resume_networks:plain" in done.output
    assert not list((tmp_path / "cache").glob("*.h5"))


def test_check_finds_what_a_fine_tuning_would_refuse(tmp_path: Path, place: Path) -> None:
    training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "layer9"}]}
    file = write_config(tmp_path / "tuned.json", place, BACKBONES["plain"], training=training)
    done = featcache("check", file, "--allow-custom")
    assert done.exit_code == 2, done.output
    assert "no block 'layer9'" in " ".join(done.output.split())


def test_a_sweep_is_of_heads(tmp_path: Path, place: Path) -> None:
    base = write_config(
        tmp_path / "base.json", place, BACKBONES["plain"], training={"epochs": 3, "unfreeze_schedule": SCHEDULE}
    )
    space = {
        "name": "search",
        "base": str(base),
        "trials": 2,
        "space": {"training.learning_rate": {"low": 0.001, "high": 0.1, "log": True}},
    }
    (tmp_path / "space.json").write_text(json.dumps(space))
    done = featcache("sweep", tmp_path / "space.json", "--results-dir", tmp_path / "r", "--allow-custom")
    assert_refused(done, "training.unfreeze_schedule", "featcache finetune")
    assert not (tmp_path / "r").exists()


def assert_refused(done: Result, *words: str, paragraphs: int = 1) -> None:
    """One clear paragraph, and exit code 2."""
    message = " ".join(done.output.split())
    for word in words:
        assert word in message, message
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert len([p for p in done.output.split("\n\n") if p.strip()]) == paragraphs


def snapshot(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Every run's files, and every row that is cached: nothing may come, change or go."""
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    stats = {p: p.stat() for p in files if p.suffix not in {".sqlite", ".lock"} and "memo" not in p.parts}
    return {p: (s.st_mtime_ns, s.st_size) for p, s in stats.items()}


def steps(*pairs: tuple[int, Any]) -> list[str]:
    return ["--set", f"training.unfreeze_schedule={json.dumps([{'epoch': e, 'unfreeze': u} for e, u in pairs])}"]


BAD_PLANS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "out of order": (steps((2, "last_block"), (1, "all")), ("out of order", "[2, 1]")),
    "twice in an epoch": (steps((1, "last_block"), (1, "all")), ("out of order",)),
    "frozen again": (steps((0, "all"), (1, "last_block")), ("would freeze", "'layer1'", "again")),
    "frozen again by share": (steps((0, 0.5), (1, 0.1)), ("would freeze", "'layer3'", "again")),
    "past the end": (steps((3, "all")), ("step at epoch 3, past the end", "training.epochs is 3")),
    "negative epoch": (steps((-1, "all")), ("unfreeze_schedule", "greater than or equal to 0")),
    "unknown block": (steps((0, "layer5")), ("has no block 'layer5'", "did you mean 'layer", "layer4")),
    "misspelt": (steps((0, "lastblock")), ("did you mean 'last_block'?",)),
    "nothing like it": (steps((0, "xyzzy")), ("has no block 'xyzzy'", "Expected last_block, all", "layer1")),
    "more than all": (steps((0, 1.5)), ("unfreeze", "less than or equal to 1", "1.5")),
    "less than none": (steps((0, -0.1)), ("unfreeze", "greater than or equal to 0", "-0.1")),
    "true": (steps((0, True)), ("unfreeze_schedule",)),
    "empty": (["--set", "training.unfreeze_schedule=[]"], ("training.unfreeze_schedule",)),
    "misspelt key": (
        ["--set", 'training.unfreeze_schedule=[{"epoch": 0, "unfreze": "all"}]'],
        ("unfreze", "did you mean"),
    ),
    "no schedule": (["--set", "training.unfreeze_schedule=null"], ("unfreeze_schedule is null", "nothing would be")),
    "joined": (["--set", "model.backbone=squeezenet1_1+resnet18"], ("names 2", "one network")),
    "folds": (["--set", "training.kept_of_folds=average"], ("training.kept_of_folds", "Set data.folds")),
    "unknown backbone": (["--set", "model.backbone=resnet19"], ("Nearest: resnet18",)),
    "no such data": (["--set", "data.path=/no/such/folder"], ("does not exist",)),
    "dims": (["--set", "model.classifier_dims=[2048,16,4]"], ("gives 24 features",)),
    "no such device": (["--device", "cuda:7"], ("--device cuda:7",)),
    **{
        option: (
            ["--set", "training.unfreeze_schedule=null", "--set", f"training.{option}={value}"],
            (f"training.{option} is of end-to-end training", "training.unfreeze_schedule"),
        )
        for option, value in {
            "mixup": "0.2",
            "cutmix": "1.0",
            "clip_norm": "1.0",
            "accumulate": "2",
            "ema_decay": "0.9",
            "lr_decay_per_block": "0.5",
            "channels_last": "false",
            "compile": "true",
        }.items()
    },
}


@pytest.mark.parametrize(("arguments", "words"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_config_that_cannot_be_followed(
    tmp_path: Path, place: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    file = write_config(
        tmp_path / "tuned.json",
        place,
        BACKBONES["plain"],
        training={"epochs": 3, "unfreeze_schedule": SCHEDULE},
        cache={"dir": str(tmp_path / "cache")},
    )
    done = featcache("finetune", file, "--results-dir", tmp_path / "results", "--allow-custom", "-q", *arguments)
    assert_refused(done, *words)
    assert not (tmp_path / "results").exists()
    assert not list((tmp_path / "cache").rglob("*.h5"))


BAD_CHOICES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "nothing": ([], ("--top N", "--from-run FOLDER", "CONFIG")),
    "both ways": (["--top", "2", "--from-run", "{results}/plain", "{by}"], ("two ways to choose",)),
    "two configs": (["--top", "2", "{by}", "{by2}"], ("take one CONFIG", "got 2")),
    "two configs for a run": (["--from-run", "{results}/plain", "{by}", "{by2}"], ("take one CONFIG", "got 2")),
    "more than there are": (["--top", "4", "{by}"], ("3 backbones", "4 are asked for", "--top 3")),
    "none": (["--top", "0", "{by}"], ("--top",)),
    "unknown criterion": (["--top", "2", "--by", "speed", "{by}"], ("speed", "accuracy", "pareto", "separability")),
    "no schedule": (["--top", "2", "{heads}"], ("unfreeze_schedule is null",)),
    "no schedule for a run": (["--from-run", "{results}/plain", "{heads}"], ("unfreeze_schedule is null",)),
    "no such space": (["--top", "1", "{by}", "--space", "{results}/none.json"], ("there is no such file",)),
    "a budget that is none": (
        ["--top", "1", "{by}", "--search", "2", "--budget", "soon"],
        ("expected a time such as 2h",),
    ),
    "no such config": (["--top", "2", "{results}/none.json"], ("there is no such file",)),
    "no such run": (["--from-run", "{results}/nothing", "{by}"], ("nothing", "no finished run")),
    "empty folder": (["--from-run", "{empty}", "{by}"], ("no finished run",)),
    "other data": (
        ["--from-run", "{results}/plain", "{by}", "--set", "data.path={other}"],
        ("was trained on other data", "data.path"),
    ),
    "other backbone": (
        ["--from-run", "{results}/plain", "{by}", "--set", "model.backbone=resume_networks:normed"],
        ("is a run of resume_networks:plain", "model.backbone is resume_networks:normed"),
    ),
    "other widths": (
        ["--from-run", "{results}/plain", "{by}", "--set", 'model.classifier_dims=["auto",8,"auto"]'],
        ("has the widths [24, 16, 4]", "[24, 8, 4]"),
    ),
    "other input size": (
        ["--from-run", "{results}/plain", "{by}", "--set", "model.input_size=40"],
        ("trained on images of 32 pixels", "model.input_size"),
    ),
    "other widths of all": (
        ["--top", "3", "--with-heads", "{by}", "--set", 'model.classifier_dims=["auto",8,"auto"]'],
        ("has the widths [24, 16, 4]", "[512, 8, 4]", "3 of 3"),
    ),
    "steps past the end for a run": (
        ["--from-run", "{results}/plain", "{by}", "--set", "training.epochs=2"],
        ("past the end",),
    ),
}


@pytest.mark.parametrize(("arguments", "words"), BAD_CHOICES.values(), ids=BAD_CHOICES)
def test_a_choice_that_cannot_be_followed(
    results: Path, by: Path, tmp_path: Path, place: Path, tune: Tune, arguments: list[str], words: tuple[str, ...]
) -> None:
    (tmp_path / "empty").mkdir()
    write_digits(tmp_path / "other", {"train": 6, "val": 3, "test": 3})
    names = {
        "results": results,
        "by": by,
        "by2": shutil.copy(by, tmp_path / "by2.json"),
        "heads": place / "configs" / "plain.json",
        "empty": tmp_path / "empty",
        "other": tmp_path / "other",
    }
    filled = []
    for argument in arguments:
        for name, value in names.items():
            argument = argument.replace("{" + name + "}", str(value))
        filled.append(argument)
    before = snapshot(results, place / "cache", tmp_path / "empty")
    done = tune(*filled, "-q")
    after = snapshot(results, place / "cache", tmp_path / "empty")
    assert done.exit_code == 2, done.output
    if filled and ("speed" in filled or "0" in filled):  # the parser of the command line words these
        assert all(word in done.output for word in words)
    else:
        assert_refused(done, *words)
    assert after == before
    assert not [p for p in results.iterdir() if p.name.startswith(".")]


def test_a_fine_tuned_run_goes_on_by_from_run(results: Path, tune: Tune, by: Path) -> None:
    assert tune("--from-run", results / "plain", by).exit_code == 0
    again = tune("--from-run", results / "plain-phase2", by, "-q")
    assert again.exit_code == 0, again.output
    assert board(results)["plain-phase2-phase2"]["from_run"] == "plain-phase2"


@pytest.mark.parametrize("there", [False, True], ids=["no folder", "an empty folder"])
def test_the_top_of_no_leaderboard(tmp_path: Path, by: Path, there: bool) -> None:
    if there:
        (tmp_path / "r").mkdir()
    done = featcache("finetune", "--top", "3", by, "--results-dir", tmp_path / "r", "-q")
    assert_refused(done, "holds no finished Phase 1 run", "featcache benchmark")
    assert (tmp_path / "r").exists() == there
    assert not there or not list((tmp_path / "r").iterdir())


def test_options_that_say_nothing_without_top_are_not_swallowed(
    results: Path, tune: Tune, by: Path, place: Path
) -> None:
    before = snapshot(results)
    for arguments in (["--with-heads"], ["--by", "pareto"], ["--heads", "tuned"]):
        assert_refused(tune("--from-run", results / "plain", by, *arguments, "-q"), arguments[0], "--top")
    assert snapshot(results) == before


def test_every_fault_of_every_plan_is_shown_and_nothing_trained(tmp_path: Path, place: Path) -> None:
    unfreeze = {"a": "layer9", "b": "last_block", "c": "blocks.4"}
    for name, what in unfreeze.items():
        training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 0, "unfreeze": what}]}
        write_config(
            tmp_path / "configs" / f"{name}.json",
            place,
            BACKBONES["plain"],
            training=training,
            cache={"dir": str(tmp_path / "cache")},
        )
    done = featcache("finetune", tmp_path / "configs", "--results-dir", tmp_path / "r", "--allow-custom", "-q")
    assert_refused(done, "a: training.unfreeze_schedule", "'layer9'", "c: training.unfreeze_schedule", "'blocks.4'")
    assert not (tmp_path / "r").exists() and not list((tmp_path / "cache").rglob("*.h5"))


def test_an_unknown_backbone_does_not_hide_the_faults_of_other_plans(tmp_path: Path, place: Path) -> None:
    for name, backbone, what in (("a", "resnet19", "all"), ("b", BACKBONES["plain"], "layer9")):
        training = {"epochs": 3, "unfreeze_schedule": [{"epoch": 0, "unfreeze": what}]}
        write_config(tmp_path / "configs" / f"{name}.json", place, backbone, training=training)
    done = featcache("finetune", tmp_path / "configs", "--results-dir", tmp_path / "r", "--allow-custom", "-q")
    assert_refused(done, "resnet19", "'layer9'")
    assert not (tmp_path / "r").exists()


def test_a_run_that_fails_at_work_leaves_the_others_done(
    results: Path, tune: Tune, by: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.finetune.seed_trainer import Trainer

    train = Trainer._train

    def fail(self: Trainer, epoch: int) -> tuple[float, float]:
        if self.setup.options.model.backbone == BACKBONES["plain"] and epoch == 1:
            raise ArithmeticError("something broke on the way")
        return train(self, epoch)

    monkeypatch.setattr(Trainer, "_train", fail)
    done = tune("--top", "3", by)
    assert done.exit_code == 1, done.output
    message = " ".join(done.output.split())
    assert "1 of 3 configs failed; the others are done" in message and "something broke on the way" in message
    assert tuned(results) == {"normed-phase2", "squeeze-phase2"}
    assert {n for n, r in board(results).items() if r["phase"] == "2"} == tuned(results)
    monkeypatch.undo()
    again = tune("--top", "3", by)
    assert again.exit_code == 0, again.output
    assert again.output.count("finished before") == 2 and "goes on with epoch 1" in " ".join(again.output.split())
    assert tuned(results) == {f"{name}-phase2" for name in BACKBONES}


@pytest.mark.slow
def test_top_does_not_choose_what_is_fine_tuned_already(results: Path, tune: Tune, by: Path) -> None:
    assert tune("--top", "1", by).exit_code == 0
    (first,) = tuned(results)
    assert tune("--top", "1", by).exit_code == 0
    assert tuned(results) == {first}


@pytest.mark.slow
def test_the_recipe_of_the_top_is_searched_and_goes_on(results: Path, tune: Tune, by: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.json"
    space.write_text(json.dumps({"space": {"training.learning_rate": [1e-5, 0.02]}, "confirm_seeds": 1}))
    done = tune("--top", "2", by, "--search", "2", "--budget", "20m", "--space", space)
    assert done.exit_code == 0, done.output
    assert done.output.count("confirmed with 1 fresh seed") == 2
    found = {p.name for p in results.glob("*-searched")}
    assert len(found) == 2 and found <= set(board(results))
    for name in found:
        folder = results / "recipes" / name.removesuffix("-searched")
        document = json.loads((folder / "search.json").read_text())
        assert document["search"]["budget"] == 600.0 and document["confirmed"]["run"] == name
        own, best = options(results / name), json.loads((folder / "best.json").read_text())
        assert own["training"].pop("seeds") != best["training"].pop("seeds") and own == best
    again = tune("--top", "2", by, "--search", "2", "--budget", "20m", "--space", space)
    assert again.exit_code == 0 and again.output.count("finished before") == 2


@pytest.mark.slow
def test_a_run_in_folds_is_fine_tuned_with_a_fresh_split_or_refused(
    results: Path, tune: Tune, by: Path, place: Path, tmp_path: Path
) -> None:
    file = write_config(tmp_path / "folded.json", place, BACKBONES["plain"], data={"folds": 3})
    assert featcache("train", file, "--results-dir", results, "--allow-custom").exit_code == 0
    refused = tune("--from-run", results / "folded", by)
    assert refused.exit_code == 2 and "--fresh-head" in refused.output
    done = tune("--from-run", results / "folded", by, "--fresh-head", "--set", "data.folds=3")
    assert done.exit_code == 0, done.output
    row = board(results)["folded-phase2"]
    assert row["from_run"] == "folded" and float(row["gain_top1_low"]) <= float(row["gain_top1"])
