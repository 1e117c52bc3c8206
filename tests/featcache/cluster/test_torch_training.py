"""Fine-tuning by Ray Train is that of one process; killed workers go on from the last epoch, with fewer of them too."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray_processes import ray_processes
from spread_runs import Make, options_maker, session, write_images

pytest.importorskip("ray.train")

from featcache.cluster import RayWorkers, connected_workers
from featcache.errors import WorkError
from featcache.options import parse_options
from featcache.records import Silent
from heads.finetune import TuningPlan, fine_tune_run

pytestmark = [
    pytest.mark.slow,  # Ray Train takes half a minute to begin
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning"),  # of Ray, by itself
]


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with connected_workers("local:2") as made:
        yield made
    torch.set_num_threads(threads)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return options_maker(write_images(tmp_path / "digits"), tmp_path)


def plan(make: Make, backbone: str = "resume_networks:steady", **training: Any) -> TuningPlan:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
    given = {"unfreeze_schedule": schedule, "epochs": 3, "optimizer": "sgd", **training}
    return TuningPlan(parse_options(make("cache", backbone, training=given)))


class Told(Silent):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self, what: str, total: int, unit: str) -> None:
        self.calls.append("begin")

    def end(self, summary: str) -> None:
        self.calls.append("end")


def test_a_run_is_that_of_one_process(workers: RayWorkers, make: Make, tmp_path: Path) -> None:
    told = Told()
    one = fine_tune_run(plan(make), session(None, results_dir=tmp_path / "a"))
    two = fine_tune_run(plan(make), session(workers, results_dir=tmp_path / "b", progress=told))
    assert two.summary["inputs"]["processes"] == 2 and two.folder == tmp_path / "b" / "run"
    assert two.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-4)
    a, b = (torch.load(run.folder / "best_model.pth", weights_only=True) for run in (one, two))
    for name, tensor in a["network"].items():
        assert torch.allclose(b["network"][name], tensor, rtol=1e-3, atol=1e-4), name
    assert {"begin", "end"} <= set(told.calls)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["run"]


def test_a_worker_that_is_killed_costs_an_epoch(
    workers: RayWorkers, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slowly = plan(make, "resume_networks:slow", epochs=6)
    whole = fine_tune_run(slowly, session(workers, results_dir=tmp_path / "whole"))
    killed = tmp_path / "killed"
    killer = threading.Thread(target=kill_one, args=(killed,), daemon=True)
    killer.start()
    with caplog.at_level(logging.INFO, "featcache"):
        run = fine_tune_run(slowly, session(workers, results_dir=killed))
    killer.join()
    assert sum("All begin again" in line for line in caplog.messages) == 1, caplog.text
    assert sum("goes on with epoch" in line for line in caplog.messages) == 1, caplog.text
    assert run.metrics == whole.metrics


def kill_one(results: Path) -> None:
    """Once an epoch is saved."""
    while not list(results.glob(".run-*.checkpoint/last.pth")):
        time.sleep(0.02)
    os.kill(ray_processes("TrainWorker")[-1], signal.SIGKILL)


def test_what_fails_is_said_once(workers: RayWorkers, make: Make, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="ArithmeticError: the second process has had enough"):
        fine_tune_run(plan(make, "resume_networks:failing"), session(workers, results_dir=tmp_path / "results"))
