"""Several processes that `torchrun` starts train what one does, and speak and write with one voice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_digits

from featcache.options.loading import parse_options
from heads.finetune import fine_tune
from heads.runs.run import RUN_FILES

TESTS = Path(__file__).parents[2]
SECONDS = 120  # more than any of these takes, and less than anybody waits
IMAGES = 50  # to train on
SCHEDULE = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, in numbers that nothing divides, and their features."""
    folder = tmp_path_factory.mktemp("place")
    images = write_digits(folder / "digits", {"train": 13, "val": 5, "test": 4})
    for label in (0, 1):
        (images / "train" / f"digit {label}" / "000.png").unlink()
    (images / "val" / "digit 0" / "000.png").unlink()
    return folder


def make_options(place: Path, name: str, backbone: str, batch_size: int, **training: Any) -> dict[str, Any]:
    return {
        "experiment_name": name,
        "model": {"backbone": f"resume_networks:{backbone}", "classifier_dims": ["auto", 16, "auto"], "dropout": 0.2},
        "data": {
            "path": str(place / "digits"),
            "batch_size": batch_size,
            "workers": 1,
            "augmentations": ["horizontal_flip"],
            "views": 2,
        },
        "training": {
            "epochs": 4,
            "learning_rate": 0.05,
            "optimizer": "sgd",
            "ema_decay": 0.9,
            "clip_norm": 5.0,
            "unfreeze_schedule": SCHEDULE,
            **training,
        },
        "cache": {"dir": str(place / "cache"), "batch_size": 16},
        "profile": {"iterations": 1, "warmup": 0},
    }


Make = Callable[..., dict[str, Any]]


@pytest.fixture
def make(place: Path) -> Make:
    return partial(make_options, place)


def start(folder: Path, *runs: dict[str, Any], count: int = 2, more: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`featcache finetune` in several processes."""
    configs = folder / "configs"
    configs.mkdir(exist_ok=True)
    for old in configs.iterdir():
        old.unlink()
    for options in runs:
        (configs / f"{options['experiment_name']}.json").write_text(json.dumps(options))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    arguments = ["finetune", str(configs), "--allow-custom", "--results-dir", str(folder / "results"), *more]
    return subprocess.Popen(
        [*torchrun, "-m", "featcache", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS), "COLUMNS": "300"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """How it ended, and what it said; it fails where it hangs."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        kill(process)
        out, err = process.communicate()
        pytest.fail(f"hangs:\n{out}\n{err}")
    return process.returncode, out, err


def launch(folder: Path, *runs: dict[str, Any], **more: Any) -> tuple[int, str, str]:
    return finish(start(folder, *runs, **more))


def workers(process: subprocess.Popen[str]) -> Iterator[int]:
    """The processes that `torchrun` started."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == process.pid:
            yield int(stat.parent.name)


def kill(process: subprocess.Popen[str]) -> None:
    """At once, with everything it started."""
    process.send_signal(signal.SIGSTOP)  # so that it does not notice that one of them is gone
    for worker in [*workers(process), process.pid]:
        os.kill(worker, signal.SIGKILL)


def weighted(images: Path) -> Path:
    """A table of the images with weights from 0.5 to 2."""
    files = [(p, p.relative_to(images).parts) for p in sorted(images.rglob("*.png"))]
    lines = [f"{'/'.join(parts)},{parts[1]},{parts[0]},{int(p.stem) % 4 / 2 + 0.5}\n" for p, parts in files]
    (images.parent / "table.csv").write_text("path,label,split,weight\n" + "".join(lines))
    return images.parent / "table.csv"


def alone(folder: Path, options: dict[str, Any]) -> Path:
    """The run by one process."""
    return fine_tune(parse_options(options), results_dir=folder / "alone", allow_custom=True).folder


def committed(results: Path) -> list[int]:
    """When the run's checkpoint was written; empty where there is none."""
    return [last.stat().st_mtime_ns for last in results.glob(".run-*.checkpoint/last.pth")]


def assert_close(found: Path, expected: Path, tolerance: float = 1e-4, images: int = 1) -> None:
    """Losses and weights of two runs; accuracies but for some images."""
    curves = [list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in (found, expected)]
    assert len(curves[0]) == len(curves[1]) > 0
    for mine, theirs in zip(*curves, strict=True):
        assert mine["blocks"] == theirs["blocks"]
        for name in ("train_loss", "val_loss"):
            assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=tolerance, nan_ok=True), (
                mine["epoch"],
                name,
            )
        for name in ("train_top1", "val_top1"):
            assert float(mine[name]) == pytest.approx(float(theirs[name]), abs=images / 19, nan_ok=True)
    models = [torch.load(run / "best_model.pth", weights_only=True) for run in (found, expected)]
    assert models[0]["epoch"] == models[1]["epoch"]
    for part in ("network", "head"):
        for name, tensor in models[1][part].items():
            assert torch.allclose(models[0][part][name], tensor, rtol=10 * tolerance, atol=tolerance), name


def test_two_processes_train_what_one_does_and_speak_with_one_voice(tmp_path: Path, make: Make) -> None:
    # Shares of 5 and 4 images, whose batch norms take statistics together; a last batch of 5.
    normed = make("normed", "steady", 9)
    # Batches of 49 images in pieces, and a last one of a single image; each image with a weight.
    plain = make("plain", "plain", 7, accumulate=7)
    plain["data"] |= {"path": str(weighted(Path(plain["data"]["path"]))), "root": plain["data"]["path"]}
    code, out, err = launch(tmp_path, normed, plain)
    assert code == 0, err
    results = tmp_path / "results"
    assert sorted(p.name for p in results.iterdir()) == ["leaderboard.csv", "normed", "plain"]
    for options in (normed, plain):
        run = results / options["experiment_name"]
        assert {p.name for p in run.iterdir()} == RUN_FILES | {"val_outcomes.npz"}
        assert json.loads((run / "summary.json").read_text())["data"]["images"]["train"] == IMAGES
        assert_close(run, alone(tmp_path, options))
    assert out.count("leaderboard.csv: 2 runs") == 1 and out.count("val top-1 [95%]") == 1
    assert err.count("from epoch 2 on layer1, layer2, layer3, layer4, head trains") == 2  # of each run once
    assert "Traceback" not in err


@pytest.mark.slow  # ten seconds, and what ends the others is `torchrun`
def test_one_process_that_fails_ends_all(tmp_path: Path, make: Make) -> None:
    begin = time.monotonic()
    code, out, err = launch(
        tmp_path, make("failing", "failing", 8, unfreeze_schedule=[{"epoch": 0, "unfreeze": "all"}])
    )
    assert code != 0
    assert "the second process has had enough" in err
    assert time.monotonic() - begin < 90
    assert not (tmp_path / "results" / "failing").exists()
    assert "leaderboard.csv" not in out


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "count"), [(7, 2), (49, 2), (7, 3), (8, 3)])  # a last one of 1, 1, 1 and 2
def test_images_that_only_keep_a_process_company_have_no_part_in_batch_norms(
    tmp_path: Path, make: Make, batch_size: int, count: int
) -> None:
    options = make("run", "steady", batch_size)
    code, _, err = launch(tmp_path, options, count=count)
    assert code == 0, err
    assert_close(tmp_path / "results" / "run", alone(tmp_path, options))


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "adamw", "learning_rate": 0.003, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]},
        {"label_smoothing": 0.1, "lr_decay_per_block": 0.5, "clip_norm": 0.05, "seeds": 2},
        {"gradient_checkpointing": True},
        {"ema_decay": None, "swa_from": 2},
    ],
    ids=["adamw", "two seeds", "gradient checkpointing", "average of epochs"],
)
def test_whatever_the_training_processes_agree(tmp_path: Path, make: Make, training: dict[str, Any]) -> None:
    options = make("run", "steady", 10, **training)
    code, _, err = launch(tmp_path, options)
    assert code == 0, err
    assert_close(tmp_path / "results" / "run", alone(tmp_path, options), tolerance=1e-3)


@pytest.mark.slow
def test_batch_norms_in_half_precision_are_shared(tmp_path: Path, make: Make) -> None:
    options = make("run", "steady", 10, precision="bfloat16")
    code, _, err = launch(tmp_path, options)
    assert code == 0, err
    assert_close(tmp_path / "results" / "run", alone(tmp_path, options), tolerance=1e-1, images=3)


@pytest.mark.slow
def test_a_real_network_in_two_processes(tmp_path: Path, make: Make) -> None:
    options = make("run", "steady", 10, epochs=3, learning_rate=0.01)
    options["model"] |= {"backbone": "resnet18", "pretrained": False, "input_size": 64}
    code, _, err = launch(tmp_path, options)
    assert code == 0, err
    assert_close(tmp_path / "results" / "run", alone(tmp_path, options), tolerance=1e-2)


@pytest.mark.slow
def test_mixed_images_in_two_processes(tmp_path: Path, make: Make) -> None:
    code, _, err = launch(tmp_path, make("run", "normed", 9, mixup=0.2, cutmix=1.0))
    assert code == 0, err
    rows = list(csv.DictReader((tmp_path / "results" / "run" / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 4 and all(float(row["train_loss"]) > 0 for row in rows)


@pytest.mark.slow
def test_a_run_that_fails_in_one_process_leaves_the_next_one_done(tmp_path: Path, make: Make) -> None:
    schedule = [{"epoch": 0, "unfreeze": "all"}]
    fails = make("a_fails", "failing", 8, unfreeze_schedule=schedule)
    works = make("b_works", "steady", 8, unfreeze_schedule=schedule)
    code, _, err = launch(tmp_path, fails, works)
    assert code != 0 and "the second process has had enough" in err
    assert not (tmp_path / "results" / "a_fails").exists()
    if (tmp_path / "results" / "b_works").exists():  # it may be left out, but not be half there
        assert_close(tmp_path / "results" / "b_works", alone(tmp_path, works))


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "first", "second"])
def test_killed_processes_go_on_where_they_were(tmp_path: Path, make: Make, whom: str) -> None:
    options = make("run", "slow", 10, seeds=2, epochs=5)
    code, _, err = launch(tmp_path, {**options, "experiment_name": "whole"})
    assert code == 0, err
    results = tmp_path / "results"
    for _ in range(2):
        process = start(tmp_path, options)
        before = committed(results)
        while committed(results) == before:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        time.sleep(0.3)
        if whom == "all":
            kill(process)
            process.communicate()
        else:
            victim = sorted(workers(process))[0 if whom == "first" else -1]
            os.kill(victim, signal.SIGKILL)
            assert finish(process)[0] != 0
        assert not (results / "run").exists()
    code, out, err = launch(tmp_path, options)
    assert code == 0, err
    assert err.count("goes on with epoch") == 1
    runs = [results / name for name in ("run", "whole")]
    models = [torch.load(run / "best_model.pth", weights_only=True) for run in runs]
    for part in ("network", "head"):
        assert all(torch.equal(models[0][part][n], t) for n, t in models[1][part].items())
    curves = [list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in runs]
    for curve in curves:
        for row in curve:
            del row["seconds"]
    assert curves[0] == curves[1]
    assert sorted(p.name for p in results.iterdir()) == ["leaderboard.csv", "run", "whole"]
    assert out.count("leaderboard.csv: 2 runs") == 1


@pytest.mark.slow
def test_processes_reuse_what_is_finished_and_refuse_what_cannot_be(tmp_path: Path, make: Make) -> None:
    options = make("run", "steady", 10)
    assert launch(tmp_path, options)[0] == 0
    stamp = (tmp_path / "results" / "run" / "summary.json").stat().st_mtime_ns
    code, out, err = launch(tmp_path, options)
    assert code == 0 and err.count("finished before") == 1 and out.count("leaderboard.csv: 1 run") == 1
    assert (tmp_path / "results" / "run" / "summary.json").stat().st_mtime_ns == stamp
    bad = {**options, "experiment_name": "bad"}
    code, out, err = launch(tmp_path, bad, more=("--set", 'training.unfreeze_schedule=[{"epoch":0,"unfreeze":"x"}]'))
    assert code != 0 and "has no block 'x'" in err
    assert "unexpected" not in err and "leaderboard" not in out
    assert not (tmp_path / "results" / "bad").exists()


@pytest.mark.slow
def test_processes_do_not_work_on_a_run_that_others_work_on(tmp_path: Path, make: Make) -> None:
    options = make("run", "slow", 10, epochs=6)
    first = start(tmp_path, options)
    while not list((tmp_path / "results").glob(".run-*.checkpoint/last.pth")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    first_stopped = [*workers(first)]
    for worker in first_stopped:
        os.kill(worker, signal.SIGSTOP)  # so that it is still at work when the others come
    try:
        code, _, err = launch(tmp_path, options)
    finally:
        for worker in first_stopped:
            os.kill(worker, signal.SIGCONT)
    assert code != 0 and "another process works on this run" in err
    assert finish(first)[0] == 0
