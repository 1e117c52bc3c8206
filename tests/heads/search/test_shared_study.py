"""Two sweeps of one study in a PostgreSQL of this machine: no point is trained twice, and both see all trials."""

from __future__ import annotations

import csv
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from conftest import write_digits

from heads.search.study import SAME_AS

pytest.importorskip("psycopg2")
if shutil.which("initdb") is None or (os.geteuid() == 0 and "postgres" not in {p.pw_name for p in pwd.getpwall()}):
    pytest.skip("PostgreSQL's programs are not here", allow_module_level=True)

pytestmark = pytest.mark.slow  # a server of its own

TESTS = Path(__file__).parents[2]
SECONDS = 300  # more than any of these takes


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database, by a socket in a folder that is gone afterwards."""
    who = {"user": "postgres"} if os.geteuid() == 0 else {}  # it does not run as root
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        plain = ["-D", str(folder / "data")]
        subprocess.run(
            ["initdb", *plain, "-U", "u", "-A", "trust", "--no-sync"], check=True, capture_output=True, **who
        )
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off"
        start = ["pg_ctl", *plain, "-w", "-o", settings, "-l", str(folder / "log"), "start"]
        subprocess.run(start, check=True, capture_output=True, **who)
        try:
            yield f"postgresql+psycopg2://u@/postgres?host={folder}"
        finally:
            subprocess.run(["pg_ctl", *plain, "-m", "immediate", "stop"], check=True, capture_output=True, **who)


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    base = {
        "experiment_name": "run",
        "model": {"backbone": "resume_networks:plain", "input_size": 32, "classifier_dims": ["auto", 16, "auto"]},
        "data": {"path": str(write_digits(tmp_path / "digits", {"train": 12, "val": 5})), "workers": 1},
        "training": {"epochs": 30},
        "cache": {"dir": str(tmp_path / "cache"), "batch_size": 16},
        "profile": {"iterations": 1, "warmup": 0},
    }
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "data.batch_size": [4, 8]}
    sweep = {"name": "s", "base": base, "space": space, "objective": "val_loss", "storage": "${SWEEP_STORAGE}"}
    (tmp_path / "s.json").write_text(json.dumps({**sweep, "trials": 24, "batch": 4, "seed": 5, "sampler": "random"}))
    return tmp_path / "s.json"


def begin(file: Path, results: str, url: str) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}:{TESTS.parent}", "SWEEP_STORAGE": url}
    command = ["-m", "featcache", "sweep", str(file), "--results-dir", results, "--allow-custom"]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], stdout=pipe, stderr=pipe, text=True, cwd=file.parent, env=env)


def trained(url: str) -> list[Any]:
    """The points that were trained, to the end or not, as often as they were."""
    trials = optuna.load_study(study_name="s", storage=url).trials
    return [json.dumps(t.params, sort_keys=True) for t in trials if SAME_AS not in t.user_attrs]


def table(file: Path, results: str) -> list[dict[str, str]]:
    return list(csv.DictReader((file.parent / results / "sweeps" / "s" / "trials.csv").read_text().splitlines()))


def test_two_sweeps_share_the_trials(server: str, sweep_file: Path) -> None:
    both = [begin(sweep_file, name, server) for name in ("a", "b")]
    for one in both:
        _, err = one.communicate(timeout=SECONDS)
        assert one.returncode == 0, err
        assert server not in err
    points = trained(server)
    assert 24 <= len(points) <= 24 + 4 and len(set(points)) == len(points)
    owners = [t.user_attrs["featcache:by"] for t in optuna.load_study(study_name="s", storage=server).trials]
    assert len(set(owners)) == 2 and min(map(owners.count, set(owners))) >= 4
    for name in ("a", "b"):
        rows = table(sweep_file, name)
        assert sorted(row["training.learning_rate"] for row in rows) == sorted(
            {row["training.learning_rate"] for row in rows}
        )
        assert len(rows) == len(points)


def test_what_a_killed_sweep_had_claimed_is_trained_by_the_other(server: str, sweep_file: Path) -> None:
    optuna.delete_study(study_name="s", storage=server)
    killed = begin(sweep_file, "a", server)
    start = time.monotonic()
    while "s" not in optuna.get_all_study_names(server) or len(trained(server)) < 4:
        assert killed.poll() is None and time.monotonic() - start < SECONDS, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    other = begin(sweep_file, "b", server)
    _, err = other.communicate(timeout=SECONDS)
    assert other.returncode == 0, err
    points = trained(server)
    assert len(points) == 24 == len(set(points))
