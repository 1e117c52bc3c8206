"""What befalls a cluster: a machine is lost, a worker is slow or killed, Ctrl-C: every row is there once and right."""

from __future__ import annotations

import csv
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import worker_functions
from ray_processes import ray_processes
from spread_runs import Make, assert_same_store, options_maker, session, write_images

pytest.importorskip("ray")

from featcache.cluster import RayWorkers, connected_workers
from featcache.extraction import Extraction, extract_backbone
from featcache.options import parse_options
from featcache.workers import Job
from heads.finetune import TuningPlan, fine_tune_run

pytestmark = [
    pytest.mark.slow,  # each begins a Ray of its own
    pytest.mark.filterwarnings("ignore:.*is deprecated:DeprecationWarning"),  # of Ray, by itself
]

TESTS = Path(__file__).parents[2]
SECONDS = 300  # more than any of these takes
SLOW = "resume_networks:slow"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return options_maker(write_images(tmp_path / "digits"), tmp_path)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(make: Make, workers: RayWorkers, backbone: str = SLOW) -> Extraction:
    """An extraction by these workers has the store of one process."""
    small = {"data": {"augmentations": ["horizontal_flip"], "views": 5}, "cache": {"batch_size": 8}}
    alone, together = (parse_options(make(cache, backbone, **small)) for cache in ("alone", "together"))
    found = extract_backbone(together, session(workers))
    expected = extract_backbone(alone, session(None))
    assert found.new == 176
    assert_same_store(expected.store.path, found.store.path)
    return found


@contextmanager
def later(act: Any, folder: Path, pattern: str = "*.parts/*.npz", times: int = 1) -> Iterator[None]:
    """Do something once the first rows are committed, or another file has been written so many times."""

    def wait_and_act() -> None:
        seen: set[int] = set()
        while len(seen) < times:
            time.sleep(0.01)
            with suppress(FileNotFoundError):  # it is being replaced
                seen |= {file.stat().st_mtime_ns for file in folder.glob(pattern)}
        act()

    thread = threading.Thread(target=wait_and_act, daemon=True)
    thread.start()
    yield
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_a_machine_that_is_lost_is_done_without(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two machines, each a raylet of its own here, the second is killed."""
    from ray.cluster_utils import Cluster

    each = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    try:
        node = cluster.add_node(**each)
        with (
            caplog.at_level(logging.INFO, "featcache"),
            connected_workers(cluster.address) as workers,
            later(lambda: cluster.remove_node(node, allow_graceful=False), tmp_path / "together"),
        ):
            assert workers.count == 2
            check(make, workers)
        assert sum("is gone" in line for line in caplog.messages) == 1, caplog.text
    finally:
        cluster.shutdown()


def test_fine_tuning_goes_on_with_fewer_workers(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of two machines the second is killed once an epoch is saved; the first goes on after it, to the same network."""
    from ray.cluster_utils import Cluster

    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
    training = {"unfreeze_schedule": schedule, "epochs": 8, "optimizer": "sgd"}
    plan = TuningPlan(parse_options(make("cache", "resume_networks:slow_steady", training=training)))
    alone = fine_tune_run(plan, session(None, results_dir=tmp_path / "alone"))
    each = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
    try:
        node = cluster.add_node(**each)
        results = tmp_path / "together"
        with (
            caplog.at_level(logging.INFO, "featcache"),
            connected_workers(cluster.address) as workers,
            later(lambda: cluster.remove_node(node, allow_graceful=False), results, ".run-*.checkpoint/last.pth", 4),
        ):
            assert workers.count == 2
            run = fine_tune_run(plan, session(workers, results_dir=results))
    finally:
        cluster.shutdown()
    assert sum("All begin again" in line for line in caplog.messages) == 1, caplog.text
    (begun,) = [int(found[1]) for line in caplog.messages if (found := re.search(r"goes on with epoch (\d+)", line))]
    assert 2 <= begun < 8
    assert run.summary["inputs"]["processes"] == 1
    one, other = (list(csv.DictReader((r.folder / "metrics.csv").read_text().splitlines())) for r in (alone, run))
    assert [row["epoch"] for row in one] == [row["epoch"] for row in other]
    losses = ([float(row["val_loss"]) for row in rows if int(row["epoch"]) <= begun] for rows in (one, other))
    assert next(losses) == pytest.approx(next(losses), rel=3e-3)  # and rounding grows with every epoch after it


def test_what_a_slow_worker_has_is_given_to_another(make: Make) -> None:
    """One of two sleeps for a minute in its first range: nobody waits for it."""
    with connected_workers("local:2") as workers:
        workers.run([Job(worker_functions.own_id, ())] * 2)  # both are there
        workers.run([Job(worker_functions.sleep_later, (60.0,))])
        begin = time.monotonic()
        check(make, workers, "worker_functions:mortal")
        assert time.monotonic() - begin < 40
        assert len(workers.free()) == 1, "it is not given anything before it has done what it is at"


@pytest.mark.parametrize("whom", ["all", "the command", "killed"])
def test_a_command_that_is_ended_leaves_nothing_behind_and_goes_on(make: Make, tmp_path: Path, whom: str) -> None:
    options = make("together", SLOW, cache={"batch_size": 2}, data={"augmentations": ["horizontal_flip"], "views": 5})
    (tmp_path / "run.json").write_text(json.dumps(options))
    command = begin("extract", tmp_path / "run.json", "--cluster", "local:2")
    start = time.monotonic()
    while not list((tmp_path / "together").glob("*.parts/*.npz")):
        assert command.poll() is None and time.monotonic() - start < SECONDS, command.communicate()
        time.sleep(0.02)
    assert len(ray_processes("ray::", command.pid)) >= 2
    processes = {*ray_processes("", command.pid)} - {command.pid}
    if whom == "all":
        os.killpg(command.pid, signal.SIGINT)
    else:
        command.send_signal(signal.SIGINT if whom == "the command" else signal.SIGKILL)
    _, err = command.communicate(timeout=SECONDS)
    if whom != "killed":
        assert command.returncode == 130 and "run the same command again" in err and "Traceback" not in err, err
    start = time.monotonic()
    while left := [pid for pid in processes if Path(f"/proc/{pid}/exe").exists()]:
        assert time.monotonic() - start < 180, left  # Ray's agents look for their parent now and then
        time.sleep(0.1)
    again = begin("extract", tmp_path / "run.json", "--cluster", "local:2")
    out, err = again.communicate(timeout=SECONDS)
    assert again.returncode == 0, err
    reused, new = (int(part.split()[0]) for part in out.partition(": ")[2].split(", ")[:2])
    assert reused > 0 and new > 0 and reused + new == 176
    alone = extract_backbone(
        parse_options({**options, "cache": {**options["cache"], "dir": str(tmp_path / "alone")}}), session(None)
    )
    (store,) = (tmp_path / "together").glob("*.h5")
    assert_same_store(alone.store.path, store)


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "featcache", *map(str, arguments), "--allow-custom"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "COLUMNS": "300"},
    )
