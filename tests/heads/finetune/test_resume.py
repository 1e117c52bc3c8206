"""A fine-tuning that is killed, interrupted or torn goes on where it was, and ends bit for bit as if nothing was."""

from __future__ import annotations

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_digits

from featcache.errors import DiskFullError
from heads.finetune import fine_tune
from heads.runs.run import RUN_FILES

SCRIPT = Path(__file__).parent / "finetune_process.py"
EPOCHS = 6
SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all", "lr_scale": 0.5}]


class Processes:
    """`featcache finetune` in forks of one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.server = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )

    def _ask(self, **request: Any) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *arguments: str | Path, die: str | None = None) -> tuple[int, Path]:
        """The id of a process, and the file of what it says."""
        self._count += 1
        output = self._folder / f"output {self._count}"
        return self._ask(arguments=[str(a) for a in arguments], output=str(output), die=die), output

    def wait(self, process: int) -> int:
        return self._ask(wait=process)

    def run(self, *arguments: str | Path, die: str | None = None) -> tuple[int, str]:
        """How it ended, and what it said."""
        process, output = self.start(*arguments, die=die)
        code = self.wait(process)
        return code, " ".join(output.read_text().split())  # consoles wrap lines


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("output"))
    yield made
    assert made.server.stdin is not None
    made.server.stdin.close()
    assert made.server.wait(timeout=60) == 0
    assert made.server.stdout is not None
    made.server.stdout.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where images and the cache are for all of these tests: results are of each test alone."""
    folder = tmp_path_factory.mktemp("place")
    write_digits(folder / "digits", {"train": 12, "val": 5, "test": 4})
    return folder


def make_command(
    place: Path, folder: Path, results: str = "results", *, backbone: str = "normed", **training: Any
) -> list[str | Path]:
    """The command that fine-tunes with everything on that draws or remembers."""
    options = {
        "experiment_name": "run",
        "model": {"backbone": f"resume_networks:{backbone}", "classifier_dims": ["auto", 16, "auto"]},
        "data": {
            "path": str(place / "digits"),
            "batch_size": 16,
            "workers": 1,
            "augmentations": ["horizontal_flip", "rotation"],
            "views": 2,
        },
        "training": {
            "epochs": EPOCHS,
            "learning_rate": 0.02,
            "scheduler": "cosine",
            "seeds": 2,
            "ema_decay": 0.9,
            "unfreeze_schedule": SCHEDULE,
            **training,
        },
        "cache": {"dir": str(place / "cache"), "batch_size": 16},
        "profile": {"iterations": 1, "warmup": 0},
    }
    file = folder / f"{results}.json"
    file.write_text(json.dumps(options))
    return ["finetune", file, "--allow-custom", "--results-dir", folder / results]


Command = Callable[..., list[str | Path]]


@pytest.fixture
def command(place: Path, tmp_path: Path) -> Command:
    return partial(make_command, place, tmp_path)


Contents = tuple[dict[str, Any], list[dict[str, str]], dict[str, np.ndarray], dict[str, Any]]


def contents(run: Path) -> Contents:
    """What of a run does not depend on when and how fast it was made."""
    model = torch.load(run / "best_model.pth", weights_only=True)
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    predictions = {}
    for name in ("predictions.npz", "val_outcomes.npz"):
        with np.load(run / name) as file:
            predictions |= {f"{name}: {array}": file[array] for array in file.files}
    summary = json.loads((run / "summary.json").read_text())
    del summary["head_seconds"]
    for stage in summary["stages"]:
        del stage["seconds_per_epoch"]
    return model, [{k: v for k, v in row.items() if k != "seconds"} for row in rows], predictions, summary


def assert_same(found: Contents, expected: Contents) -> None:
    """Bit for bit."""
    for part in ("network", "head"):
        assert found[0][part].keys() == expected[0][part].keys()
        for name, tensor in expected[0][part].items():
            assert torch.equal(found[0][part][name], tensor), name
    plain = [{k: v for k, v in model.items() if k not in ("network", "head")} for model in (found[0], expected[0])]
    assert plain[0] == plain[1]
    assert found[1] == expected[1]
    assert found[2].keys() == expected[2].keys()
    assert all(np.array_equal(found[2][n], own, equal_nan=own.dtype.kind == "f") for n, own in expected[2].items())
    assert found[3] == expected[3]


def assert_only_the_run(results: Path) -> None:
    """Nothing partial, hidden or torn is left."""
    assert sorted(p.name for p in results.iterdir()) == ["leaderboard.csv", "run"]
    assert {p.name for p in (results / "run").iterdir()} == RUN_FILES | {"val_outcomes.npz"}


def checkpoint(results: Path) -> Path:
    return next(iter(results.glob(".run-*.checkpoint")), results / ".run.checkpoint")


@pytest.fixture(scope="module")
def whole(processes: Processes, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """The run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    code, said = processes.run(*make_command(place, folder))
    assert code == 0, said
    found = contents(folder / "results" / "run")
    rows = found[1]
    assert len(rows) == len({row["val_loss"] for row in rows}) == 2 * (1 + EPOCHS)  # it learns something
    assert {row["blocks"] for row in rows} == {"", "head", "layer4 head", "layer1 layer2 layer3 layer4 head"}
    assert_only_the_run(folder / "results")
    return found


@pytest.mark.slow
def test_a_run_of_the_same_options_elsewhere_is_the_same_bit_for_bit(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    code, said = processes.run(*command())
    assert code == 0, said
    assert_same(contents(tmp_path / "results" / "run"), whole)


def check_kills(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents, seeds: range, in_a_row: int
) -> None:
    """Runs that are killed at random instants, once or up to so many times in a row, and then left alone."""
    begin = time.monotonic()
    assert processes.run(*command("timed"))[0] == 0
    seconds = time.monotonic() - begin
    killed = 0
    for seed in seeds:
        draw = random.Random(seed)
        results = tmp_path / f"killed {seed}"
        for _ in range(1 + seed % in_a_row):
            process, _ = processes.start(*command(results.name))
            time.sleep(draw.uniform(0.1, 1.0) * seconds)
            os.kill(process, signal.SIGKILL)  # not reaped yet, so the id is still its own
            killed += processes.wait(process) == -signal.SIGKILL
        code, said = processes.run(*command(results.name))
        assert code == 0, said
        assert_same(contents(results / "run"), whole)
        assert_only_the_run(results)
    assert killed >= len(seeds) // 2  # the others were done before


@pytest.mark.slow  # the worst instants are in the default suite
def test_fine_tunings_killed_at_thirty_random_instants(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    check_kills(processes, command, tmp_path, whole, range(100, 130), in_a_row=3)


@pytest.mark.parametrize(
    "points",
    [
        # While the head alone trains, the last block, everything, and then the second seed.
        ["train:2", "train:3", "train:3", "train:4"],
        # Between a best epoch and the last.pth that names it: the first of them twice, then another one.
        ["save_best:1", "save_best:1", "save_best:2"],
        ["saving:1", "saving:3", "saving:2"],  # last.pth half written
        # Between the last epoch of the first seed and the mark that it is finished; when all is trained.
        ["save:6", "save:8"],
        pytest.param(["train:2"], marks=pytest.mark.slow),
        pytest.param(["train:4"], marks=pytest.mark.slow),
        pytest.param(["train:6"], marks=pytest.mark.slow),
        pytest.param(["train:8", "train:3", "train:2"], marks=pytest.mark.slow),
        pytest.param(["save:6"], marks=pytest.mark.slow),
        pytest.param(["save:7"], marks=pytest.mark.slow),
        pytest.param(["save:7", "train:1", "save:3"], marks=pytest.mark.slow),
        pytest.param(["save:14"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_killed_at_the_worst_instants(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents, points: list[str]
) -> None:
    for point in points:
        assert processes.run(*command(), die=point)[0] == -signal.SIGKILL
        assert not (tmp_path / "results" / "run").exists()
    code, said = processes.run(*command())
    assert code == 0, said
    assert_same(contents(tmp_path / "results" / "run"), whole)
    assert_only_the_run(tmp_path / "results")


def test_killed_when_the_run_is_there_and_its_checkpoints_are_too(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    assert processes.run(*command(), die="write_run:1")[0] == -signal.SIGKILL
    assert_same(contents(tmp_path / "results" / "run"), whole)
    code, said = processes.run(*command())
    assert code == 0 and "finished before" in said
    assert_only_the_run(tmp_path / "results")


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again(processes: Processes, command: Command, tmp_path: Path) -> None:
    assert processes.run(*command(seeds=1))[0] == 0
    model = tmp_path / "results" / "run" / "best_model.pth"
    stamp = model.stat().st_mtime_ns
    code, said = processes.run(*command(seeds=1), die="train:1")
    assert code == 0 and "finished before" in said
    assert model.stat().st_mtime_ns == stamp
    assert processes.run(*command(seeds=1), "--fresh")[0] == 0
    assert model.stat().st_mtime_ns > stamp
    assert_only_the_run(tmp_path / "results")


def test_an_interrupted_command_keeps_its_checkpoint_and_says_how_to_go_on(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    code, said = processes.run(*command(), die="stop:5")
    assert code == 130
    assert "run the same command again" in said and "Traceback" not in said
    assert (checkpoint(tmp_path / "results") / "last.pth").is_file()
    code, said = processes.run(*command())
    assert code == 0 and "seed 42 goes on with epoch 4" in said
    assert_same(contents(tmp_path / "results" / "run"), whole)
    assert_only_the_run(tmp_path / "results")


def torn(last: Path) -> None:
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])


def empty(last: Path) -> None:
    last.write_bytes(b"")


def foreign(last: Path) -> None:
    torch.save({"state_dict": {"weight": torch.ones(3)}}, last)


def list_of_numbers(last: Path) -> None:
    torch.save([1, 2, 3], last)


def text(last: Path) -> None:
    last.write_text("not a checkpoint")


def with_code(last: Path) -> None:
    torch.save({"inputs": Path("unpickling this would run code")}, last)


@pytest.mark.parametrize(
    "harm",
    [torn, *(pytest.param(h, marks=pytest.mark.slow) for h in (foreign, empty, list_of_numbers, text, with_code))],
    ids=lambda harm: harm.__name__,
)
def test_a_checkpoint_that_cannot_be_trusted_is_not(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents, harm: Callable[[Path], None]
) -> None:
    assert processes.run(*command(), die="train:4")[0] == -signal.SIGKILL
    harm(checkpoint(tmp_path / "results") / "last.pth")
    code, said = processes.run(*command())
    assert code == 0, said
    assert "last.pth: cannot be read" in said and "the run begins anew" in said
    assert "goes on with epoch" not in said
    assert_same(contents(tmp_path / "results" / "run"), whole)
    assert_only_the_run(tmp_path / "results")


def test_a_best_epoch_that_is_gone_does_not_keep_the_run_from_ever_ending(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    assert processes.run(*command(), die="train:12")[0] == -signal.SIGKILL
    for best in checkpoint(tmp_path / "results").glob("best-*.pth"):
        best.unlink()
    code, said = processes.run(*command())
    assert code == 0, said
    assert_same(contents(tmp_path / "results" / "run"), whole)


def test_other_options_begin_anew(processes: Processes, command: Command, tmp_path: Path) -> None:
    assert processes.run(*command(seeds=1), die="train:4")[0] == -signal.SIGKILL
    code, said = processes.run(*command(seeds=1, label_smoothing=0.1))
    assert code == 0, said
    assert "goes on with epoch" not in said
    assert len(list((tmp_path / "results").glob(".run-*.checkpoint"))) == 1  # what the first options came to is kept
    code, said = processes.run(*command(seeds=1))
    assert code == 0 and "goes on with epoch" in said, said  # although others have taken the folder meanwhile
    assert processes.run(*command("alone", seeds=1, label_smoothing=0.1))[0] == 0
    assert_same(contents(tmp_path / "results" / "run"), contents(tmp_path / "alone" / "run"))


@pytest.mark.slow
def test_other_images_begin_anew(processes: Processes, command: Command, tmp_path: Path, place: Path) -> None:
    images = tmp_path / "images"
    shutil.copytree(place / "digits", images)
    other = ["--set", f"data.path={images}"]
    assert processes.run(*command(seeds=1), *other, die="train:4")[0] == -signal.SIGKILL
    next((images / "train" / "digit 1").iterdir()).unlink()
    code, said = processes.run(*command(seeds=1), *other)
    assert code == 0, said
    assert "is of other options or data; the run begins anew" in said and "goes on" not in said
    assert processes.run(*command("alone", seeds=1), *other)[0] == 0
    assert_same(contents(tmp_path / "results" / "run"), contents(tmp_path / "alone" / "run"))


@pytest.mark.slow
def test_fresh_begins_anew(processes: Processes, command: Command, tmp_path: Path, whole: Contents) -> None:
    assert processes.run(*command(), die="train:4")[0] == -signal.SIGKILL
    code, said = processes.run(*command(), "--fresh")
    assert code == 0 and "goes on with epoch" not in said
    assert_same(contents(tmp_path / "results" / "run"), whole)
    assert_only_the_run(tmp_path / "results")


@pytest.mark.parametrize(
    "anew",
    [["--fresh"], pytest.param(["--set", "training.label_smoothing=0.1"], marks=pytest.mark.slow)],
    ids=["fresh", "other"],
)
def test_killed_in_the_first_epoch_of_what_began_anew(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents, anew: list[str]
) -> None:
    assert processes.run(*command(), die="train:12")[0] == -signal.SIGKILL
    assert processes.run(*command(), *anew, die="train:1")[0] == -signal.SIGKILL
    code, said = processes.run(*command())
    assert code == 0, said
    assert_same(contents(tmp_path / "results" / "run"), whole)
    if anew == ["--fresh"]:  # other options keep a checkpoint of their own
        assert_only_the_run(tmp_path / "results")


def test_a_fresh_start_that_was_killed_leaves_nothing_beside_the_run_that_is_there(
    processes: Processes, command: Command, tmp_path: Path
) -> None:
    assert processes.run(*command(seeds=1))[0] == 0
    assert processes.run(*command(seeds=1), "--fresh", die="train:4")[0] == -signal.SIGKILL
    assert processes.run(*command(seeds=1))[0] == 0
    assert_only_the_run(tmp_path / "results")


def test_two_processes_do_not_work_on_one_run(processes: Processes, command: Command, tmp_path: Path) -> None:
    arguments = command(backbone="slow", seeds=1, epochs=500)
    first, _ = processes.start(*arguments)
    while not (checkpoint(tmp_path / "results") / "last.pth").is_file():
        time.sleep(0.02)
    code, said = processes.run(*arguments)
    assert code == 2, said
    assert "another process works on this run" in said and "experiment_name" in said and "Traceback" not in said
    os.kill(first, signal.SIGKILL)
    assert processes.wait(first) == -signal.SIGKILL  # it was at work all the time


@pytest.mark.slow
def test_the_lock_of_a_dead_process_blocks_nobody(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    process, _ = processes.start(*command(), die="train:3")
    assert processes.wait(process) == -signal.SIGKILL
    assert (checkpoint(tmp_path / "results") / "lock").is_file()
    code, said = processes.run(*command())
    assert code == 0 and "another process" not in said
    assert_same(contents(tmp_path / "results" / "run"), whole)


def test_kills_leave_no_heap_of_files_behind(processes: Processes, command: Command, tmp_path: Path) -> None:
    for _ in range(4):
        assert processes.run(*command(), die="saving:1")[0] == -signal.SIGKILL
    held = [p for p in checkpoint(tmp_path / "results").iterdir() if p.name != "lock"]
    assert len(held) <= 3, held  # what was half written by the last of them, not by all


def test_a_full_disk_is_said_in_words_and_the_run_goes_on_when_there_is_room(
    processes: Processes, command: Command, tmp_path: Path, whole: Contents
) -> None:
    options = json.loads(Path(command()[1]).read_text())
    fill = partial(fine_tune, options, results_dir=tmp_path / "results", allow_custom=True, reuse=True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, before[1]))  # what a full disk or a quota looks like
    try:
        with pytest.raises(DiskFullError, match="no room"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "results").rglob("*.tmp"))
    fill()
    assert_same(contents(tmp_path / "results" / "run"), whole)


@pytest.mark.slow
def test_a_run_that_stops_early_goes_on_the_same(processes: Processes, command: Command, tmp_path: Path) -> None:
    training = {"epochs": 12, "patience": 2, "seeds": 1, "learning_rate": 0.05}
    assert processes.run(*command("alone", **training))[0] == 0
    alone = contents(tmp_path / "alone" / "run")
    epochs = len(alone[1])
    assert SCHEDULE[-1]["epoch"] < epochs < 12
    for point in ("train:3", f"save:{epochs - 2}"):  # the last one before it is marked as finished
        assert processes.run(*command(**training), die=point)[0] == -signal.SIGKILL
    assert processes.run(*command(**training))[0] == 0
    assert_same(contents(tmp_path / "results" / "run"), alone)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    processes: Processes, command: Command, tmp_path: Path
) -> None:
    steps = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 3, "unfreeze": "all", "lr_scale": 1e30}]
    arguments = command(optimizer="sgd", ema_decay=None, seeds=1, scheduler="none", unfreeze_schedule=steps)
    code, said = processes.run(*arguments)
    assert code == 1 and "not finite in epoch" in said and "last good checkpoint" in said and "Traceback" not in said
    assert (checkpoint(tmp_path / "results") / "last.pth").is_file()
    assert not (tmp_path / "results" / "run").exists()
    code, again = processes.run(*arguments)
    assert code == 1 and "goes on with epoch" in again
    assert again[again.index("featcache: ") :] == said[said.index("featcache: ") :]  # the same end


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "sgd", "momentum": 0.9, "clip_norm": 1.0, "accumulate": 2},
        {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "lr_decay_per_block": 0.7},
        {"precision": "bfloat16", "warmup_epochs": 2, "scheduler": "step", "channels_last": False},
        {"unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}], "optimizer": "adam", "selection_metric": "val_loss"},
        {"adapter": {"kind": "norm"}},
        {"ema_decay": None, "swa_from": 2, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]},
    ],
    ids=["sgd", "mixed", "bfloat16", "all at once", "adapter", "average of epochs"],
)
def test_whatever_the_training_it_goes_on_the_same(
    processes: Processes, command: Command, tmp_path: Path, training: dict[str, Any]
) -> None:
    assert processes.run(*command("alone", **training))[0] == 0
    for point in ("train:4", "train:3", "train:3"):
        assert processes.run(*command(**training), die=point)[0] == -signal.SIGKILL
    assert processes.run(*command(**training))[0] == 0
    assert_same(contents(tmp_path / "results" / "run"), contents(tmp_path / "alone" / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_a_real_network_goes_on_the_same(processes: Processes, command: Command, tmp_path: Path, name: str) -> None:
    real = ["--set", f"model.backbone={name}", "--set", "model.pretrained=false", "--set", "model.input_size=64"]
    assert processes.run(*command("alone"), *real)[0] == 0
    for point in ("train:2", "train:3", "train:3", "train:4"):
        assert processes.run(*command(), *real, die=point)[0] == -signal.SIGKILL
    code, said = processes.run(*command(), *real)
    assert code == 0, said
    assert_same(contents(tmp_path / "results" / "run"), contents(tmp_path / "alone" / "run"))
    assert_only_the_run(tmp_path / "results")


@pytest.mark.slow
def test_a_run_from_another_phase_1_run_is_not_taken_for_it(
    processes: Processes, command: Command, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    heads = [*command(seeds=1)[1:], "--set", "training.unfreeze_schedule=null", "--set", "training.ema_decay=null"]
    for name in ("one", "two"):
        assert processes.run("train", *heads, "--set", f"experiment_name={name}")[0] == 0
    _, config, *others = command(seeds=1)
    tune = ["finetune", config, *others, "--set", "experiment_name=run", "--from-run"]
    assert processes.run(*tune, results / "one")[0] == 0
    code, said = processes.run(*tune, results / "two")
    assert code == 0 and "finished before" not in said
    assert json.loads((results / "run" / "summary.json").read_text())["from_run"] == "two"
    code, said = processes.run(*tune, results / "two")
    assert code == 0 and "finished before" in said
    assert (
        processes.run("train", *heads, "--set", "experiment_name=two", "--set", "training.epochs=7", "--fresh")[0] == 0
    )


def test_a_student_that_is_killed_ends_as_if_nothing_was(processes: Processes, place: Path, tmp_path: Path) -> None:
    teacher = {"seeds": 1, "epochs": 1, "unfreeze_schedule": [{"epoch": 0, "unfreeze": "all"}]}
    assert processes.run(*make_command(place, tmp_path, "teacher", **teacher))[0] == 0
    asked = {"teacher": str(tmp_path / "teacher" / "run"), "temperature": 3.0}
    both = [make_command(place, tmp_path, n, distillation=asked, seeds=1) for n in ("whole", "killed")]
    assert processes.run(*both[0])[0] == 0
    assert processes.run(*both[1], die="save:3")[0] < 0
    assert processes.run(*both[1])[0] == 0
    assert_same(contents(tmp_path / "killed" / "run"), contents(tmp_path / "whole" / "run"))
