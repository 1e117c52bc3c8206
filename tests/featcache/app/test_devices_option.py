"""`--devices`: what is refused; as commands: equal results, killed and interrupted workers, nothing left behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache.devices import pick_devices
from featcache.errors import InputError
from featcache.extraction import extract
from featcache.options import parse_options
from featcache.session import Session

Config = Callable[..., dict[str, Any]]
TESTS = Path(__file__).parents[2]
SECONDS = 300  # more than any of these takes
IMAGES = 84


def test_devices_are_every_gpu_or_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpus = torch.device("cpu"), [torch.device("cuda", n) for n in range(3)]
    assert pick_devices("cpu") == (cpu,) and pick_devices("cpu, cpu,cpu") == (cpu, cpu, cpu)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert pick_devices("all") == tuple(gpus)
    monkeypatch.setattr("featcache.devices.pick_device", lambda name, asked: torch.device(name))
    assert pick_devices("cuda:2,cuda") == (gpus[2], gpus[0])
    with pytest.raises(InputError, match="--devices cuda,cuda:0: names a device twice"):
        pick_devices("cuda,cuda:0")
    with pytest.raises(InputError, match="--devices cpu,cuda: got several kinds"):
        pick_devices("cpu,cuda")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("all", "--devices all: means every GPU, and PyTorch sees none here. Name devices, as in --devices cpu,cpu"),
        ("cpu,,cpu", "--devices cpu,,cpu: '' cannot be used here"),
        ("cpu,gpu", "--devices cpu,gpu: 'gpu' cannot be used here"),
    ],
)
def test_devices_that_are_not_there_are_refused(names: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError) as refused, Session.begin("cpu").on_devices(names):
        pass
    assert str(refused.value).startswith(said) and refused.value.exit_code == 2


def test_a_lone_device_needs_no_process_and_torchrun_has_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session.begin("cpu").on_devices("cpu") as alone:
        assert alone.workers is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun has started"), Session.begin("cpu").on_devices("cpu,cpu"):
        pass


class Command:
    """`featcache` in a process group of its own, and what it started."""

    def __init__(self, *arguments: str | Path, torchrun: bool = False) -> None:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
        self.process = subprocess.Popen(
            [sys.executable, *launcher, "-m", "featcache", *map(str, arguments), "--allow-custom"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "COLUMNS": "300"},
        )

    def group(self) -> list[int]:
        """Every process of its group but itself that is alive: its workers, and Python's tracker of resources."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it has ended meanwhile
                continue
            if int(group) == self.process.pid and state != "Z" and int(stat.parent.name) != self.process.pid:
                found.append(int(stat.parent.name))
        return found

    def workers(self) -> list[int]:
        """Its workers, the first one first."""
        told = [p for p in self.group() if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]
        return sorted(told)

    def until(self, there: Callable[[], object]) -> None:
        begin = time.monotonic()
        while not there():
            assert self.process.poll() is None and time.monotonic() - begin < SECONDS, self.process.communicate()
            time.sleep(0.02)

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def leaves_nobody(self, within: float = 15) -> bool:
        begin = time.monotonic()
        while self.group() and time.monotonic() - begin < within:
            time.sleep(0.05)
        return not self.group()


@pytest.fixture
def slow(config: Config, tmp_path: Path) -> Path:
    """Options of an extraction of some seconds, a pass of two images a tenth of one, in a file."""
    model = {"backbone": "conftest:slow_backbone", "pretrained": True, "input_size": 32}
    options = config("slow", model=model, cache={"batch_size": 2}, profile={"iterations": 1, "warmup": 0})
    (tmp_path / "slow.json").write_text(json.dumps(options))
    return tmp_path / "slow.json"


def parts(file: Path) -> list[Path]:
    return list(Path(json.loads(file.read_text())["cache"]["dir"]).glob("*.parts/*.npz"))


def check_goes_on(file: Path) -> None:
    """That rows are kept, and that with the rest they are those of an extraction that nothing happened to."""
    options = json.loads(file.read_text())
    code, out, err = Command("extract", file, "--devices", "cpu,cpu").finish()
    assert code == 0, err
    reused, new = (int(part.split()[0]) for part in out.partition(": ")[2].split(", ")[:2])
    assert 0 < reused < IMAGES and new == IMAGES - reused
    whole = extract(parse_options({**options, "cache": {**options["cache"], "dir": "whole"}}), allow_custom=True)
    again = extract(parse_options(options), allow_custom=True)
    hashes = sorted(whole.store.rows())
    assert len(hashes) == IMAGES and np.array_equal(again.store.read(hashes), whole.store.read(hashes))


@pytest.mark.slow
@pytest.mark.parametrize("whom", [0, 1])
def test_a_killed_worker_ends_the_command_and_rows_are_kept(
    slow: Path, whom: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command("extract", slow, "--devices", "cpu,cpu")
    command.until(lambda: parts(slow))
    os.kill(command.workers()[whom], signal.SIGKILL)
    code, out, err = command.finish()
    assert code == 1 and out == ""
    assert f"featcache: the worker process of cpu ({whom + 1} of 2) has died: SIGKILL (as the system does where" in err
    assert "Traceback" not in err and command.leaves_nobody(0.5)
    check_goes_on(slow)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["all", "the command"])
def test_ctrl_c_ends_all_and_rows_are_kept(
    slow: Path, whom: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command("extract", slow, "--devices", "cpu,cpu")
    command.until(lambda: parts(slow))
    if whom == "all":  # as a terminal does
        os.killpg(command.process.pid, signal.SIGINT)
    else:
        command.process.send_signal(signal.SIGINT)
    code, _, err = command.finish()
    assert code == 130 and "run the same command again" in err and "Traceback" not in err
    assert command.leaves_nobody(0.5)
    check_goes_on(slow)


@pytest.mark.slow
def test_workers_do_not_outlive_a_command_that_is_killed(slow: Path) -> None:
    command = Command("extract", slow, "--devices", "cpu,cpu")
    command.until(lambda: parts(slow))
    assert len(command.workers()) == 2
    command.process.kill()
    assert command.leaves_nobody()
    command.process.communicate()


@pytest.mark.slow
def test_a_worker_without_memory_fails_its_config_and_the_next_is_done(config: Config, tmp_path: Path) -> None:
    for name, backbone in (("a", "worker_functions:hungry_worker"), ("b", "conftest:tiny_backbone")):
        model = {"backbone": backbone, "pretrained": True, "input_size": 32}
        (tmp_path / f"{name}.json").write_text(json.dumps(config(name, model=model)))
    command = Command("extract", tmp_path / "a.json", tmp_path / "b.json", "--devices", "cpu,cpu,cpu")
    code, out, err = command.finish()
    assert code == 1 and "tiny_backbone" in out and "84 new" in out
    assert "1 of 2 configs failed; the others are done" in err
    assert "worker_functions:hungry_worker: one image does not fit the memory of cpu" in err
    assert command.leaves_nobody(0.5)


def make_tuning(config: Config, tmp_path: Path, name: str, backbone: str, **training: Any) -> Path:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
    options = config(
        name,
        model={"backbone": f"resume_networks:{backbone}", "pretrained": True, "input_size": 32},
        data={"batch_size": 9, "workers": 1, "augmentations": ["horizontal_flip"], "views": 2},
        training={"unfreeze_schedule": schedule, "epochs": 4, "optimizer": "sgd", "ema_decay": 0.9, **training},
    )
    (tmp_path / f"{name}.json").write_text(json.dumps(options))
    return tmp_path / f"{name}.json"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_end_to_end_training_has_torchruns_bits(config: Config, tmp_path: Path, optimizer: str) -> None:
    file = make_tuning(config, tmp_path, "run", "steady", optimizer=optimizer, clip_norm=5.0)
    by_hand = Command("finetune", file, "--results-dir", tmp_path / "torchrun", torchrun=True).finish()
    assert by_hand[0] == 0, by_hand[2]
    code, out, err = Command("finetune", file, "--results-dir", tmp_path / "own", "--devices", "cpu,cpu").finish()
    assert code == 0, err
    runs = [tmp_path / name / "run" for name in ("torchrun", "own")]
    models = [torch.load(run / "best_model.pth", weights_only=True) for run in runs]
    for part in ("network", "head"):
        assert models[0][part].keys() == models[1][part].keys()
        assert all(torch.equal(models[1][part][n], t) for n, t in models[0][part].items())
    curves = [list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in runs]
    for row in (*curves[0], *curves[1]):
        del row["seconds"]
    assert curves[0] == curves[1] and len(curves[0]) == 1 + 4  # the start and its epochs
    inputs = [json.loads((run / "summary.json").read_text())["inputs"] for run in runs]
    assert inputs[0] == inputs[1] and inputs[0]["processes"] == 2
    assert out.count("leaderboard.csv: 1 run") == by_hand[1].count("leaderboard.csv: 1 run") == 1
    assert err.count("from epoch 2 on layer1, layer2, layer3, layer4, head trains") == 1 and "Traceback" not in err


@pytest.mark.slow
def test_a_run_that_fails_in_one_worker_leaves_the_next_one_done(config: Config, tmp_path: Path) -> None:
    """And one whose worker is killed goes on after its last whole epoch."""
    fails = make_tuning(config, tmp_path, "a", "failing")
    works = make_tuning(config, tmp_path, "b", "slow", epochs=8)
    results = tmp_path / "results"
    arguments = ("finetune", fails, works, "--results-dir", results, "--devices", "cpu,cpu")
    command = Command(*arguments)
    command.until(lambda: list(results.glob(".b-*.checkpoint/last.pth")))
    os.kill(command.workers()[-1], signal.SIGKILL)
    code, out, err = command.finish()
    assert code == 1 and "the second process has had enough" in err and "(2 of 2) has died: SIGKILL" in err
    assert command.leaves_nobody(0.5) and not (results / "b").exists()
    code, out, err = Command(*arguments).finish()
    assert code == 1 and "1 of 2 configs failed; the others are done" in err and "goes on with epoch" in err
    assert "leaderboard.csv: 1 run" in out and not (results / "a").exists()


@pytest.mark.slow
def test_benchmark_and_sweep_take_devices(config: Config, tmp_path: Path) -> None:
    for name in ("squeezenet1_1", "shufflenet_v2_x0_5"):
        (tmp_path / f"{name}.json").write_text(json.dumps(config(name, model={"backbone": name})))
    files = sorted(tmp_path.glob("s*.json"))
    tables = []
    for results, how in (("one", ("--device", "cpu")), ("two", ("--devices", "cpu,cpu"))):
        place = ("--results-dir", tmp_path / results, "--cache-dir", tmp_path / f"cache {results}")
        code, _, err = Command("benchmark", *files, *place, *how).finish()
        assert code == 0, err
        rows = csv.DictReader((tmp_path / results / "leaderboard.csv").read_text().splitlines())
        tables.append([{k: r[k] for k in ("backbone", "val_top1", "val_top3", "test_top1", "run")} for r in rows])
    assert tables[0] == tables[1] and len(tables[0]) == 2
    assert "squeezenet1_1" in err and "2 backbones on 2 devices: 2 backbones extracted" in err


@pytest.mark.slow
def test_a_student_learns_the_same_on_several_devices(config: Config, tmp_path: Path) -> None:
    """Its head bit for bit; the whole network, whose batches are shared, within rounding."""
    data = {"batch_size": 9, "workers": 1, "augmentations": ["horizontal_flip"], "views": 2}
    teacher = config("teacher", model={"backbone": "networks:four_stages", "input_size": 32}, data=data)
    (tmp_path / "teacher.json").write_text(json.dumps(teacher))
    phase2 = make_tuning(config, tmp_path, "phase2", "steady")
    kept: list[dict[str, Any]] = []
    for name, how in (("one", ("--device", "cpu")), ("two", ("--devices", "cpu,cpu"))):
        place = ("--results-dir", tmp_path / name, "--cache-dir", tmp_path / f"cache {name}", *how)
        for command in (
            ("train", tmp_path / "teacher.json"),
            ("distill", phase2, "--teacher", "teacher", "--student", "resume_networks:steady", "--name", "student"),
        ):
            code, _, err = Command(*command, *place).finish()
            assert code == 0, err
        head, whole = (
            torch.load(tmp_path / name / run / "best_model.pth", weights_only=True)
            for run in ("student", "student-phase2")
        )
        kept.append({"head": head["head"], "whole": {**whole["network"], **whole["head"]}})
    one, two = kept
    assert all(torch.equal(two["head"][n], t) for n, t in one["head"].items())
    assert all(torch.allclose(two["whole"][n], t, rtol=0, atol=1e-4) for n, t in one["whole"].items())
