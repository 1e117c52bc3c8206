"""Worker processes on GPUs: two on one card give what one gives; several cards train one network by NCCL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu_device import NAME, WHERE_THERE_IS_ONE, Config

from featcache.devices import pick_devices
from featcache.extraction import extract_backbone, spread_backbones
from featcache.options import parse_options
from featcache.session import Session
from featcache.workers import ProcessWorkers, Workers
from heads.finetune import TuningPlan, fine_tune_run
from heads.search import SweepOptions
from heads.search.sweep_run import search

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]

FIRST = torch.device("cuda", 0) if NAME == "cuda" else torch.device(NAME)
SEVERAL = pytest.mark.skipif(NAME == "cuda" and torch.cuda.device_count() < 2, reason="there is one GPU")


@pytest.fixture(scope="session")  # a proof takes tests of all files in turns
def two() -> Iterator[Workers]:
    """Two processes on the first card."""
    workers = ProcessWorkers([FIRST, FIRST])
    yield workers
    workers.close()


@pytest.fixture(scope="session")  # a proof takes tests of all files in turns
def every() -> Iterator[Workers]:
    """A process on each card."""
    workers = ProcessWorkers(pick_devices("all" if NAME == "cuda" else "cpu,cpu"))
    yield workers
    workers.close()


def alone(tmp_path: Path) -> Session:
    return Session(FIRST, allow_custom=True, results_dir=tmp_path / "alone")


def together(tmp_path: Path, workers: Workers) -> Session:
    return replace(alone(tmp_path), workers=workers, results_dir=tmp_path / "together")


def test_two_processes_fill_a_store_with_the_rows_of_one(config: Config, tmp_path: Path, two: Workers) -> None:
    views = {"augmentations": ["horizontal_flip"], "views": 2}
    first, second = (parse_options(config(cache={"dir": str(tmp_path / d)}, data=views)) for d in "ab")
    one = extract_backbone(first, alone(tmp_path))
    other = extract_backbone(second, together(tmp_path, two))
    hashes = list(one.store.rows())
    assert list(other.store.rows()) == hashes and other.new == one.new == 84
    assert np.array_equal(other.store.read(hashes), one.store.read(hashes))
    spec = one.spec
    assert np.array_equal(
        other.store.read(list(one.store.rows(spec)), spec), one.store.read(list(one.store.rows(spec)), spec)
    )


def test_two_backbones_at_once(config: Config, tmp_path: Path, two: Workers) -> None:
    names = ("squeezenet1_1", "shufflenet_v2_x0_5")
    options = [parse_options(config(model={"backbone": name})) for name in names]
    spread_backbones(options, together(tmp_path, two))
    found = [extract_backbone(one, alone(tmp_path)) for one in options]
    assert [e.new for e in found] == [0, 0] and [e.reused for e in found] == [84, 84]


def test_a_sweep_by_two_processes_has_the_trials_of_one(config: Config, tmp_path: Path, two: Workers) -> None:
    rates = {"low": 1e-4, "high": 1e-1, "log": True}
    sweep = SweepOptions.model_validate(
        {
            "name": "s",
            "base": "-",
            "space": {"training.learning_rate": rates},
            "sampler": "random",
            "trials": 12,
            "batch": 6,
        }
    )
    values = [
        [t.values for t in search(sweep, config(), session).trials]
        for session in (alone(tmp_path), together(tmp_path, two))
    ]
    assert values[1] == values[0]


@SEVERAL
def test_end_to_end_training_by_every_gpu_follows_that_of_one(config: Config, tmp_path: Path, every: Workers) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
    training = {"unfreeze_schedule": schedule, "epochs": 4, "learning_rate": 1e-2, "optimizer": "sgd"}
    options = config(model={"backbone": "resume_networks:steady", "pretrained": True}, training=training)
    plan = TuningPlan(parse_options(options))
    one = fine_tune_run(plan, alone(tmp_path))
    other = fine_tune_run(plan, together(tmp_path, every))
    assert other.summary["inputs"]["processes"] == every.count
    assert other.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-2)


@SEVERAL
def test_every_gpu_has_the_rows_of_one(config: Config, tmp_path: Path, every: Workers) -> None:
    """Of cards of one kind."""
    first, second = (parse_options(config(cache={"dir": str(tmp_path / d)})) for d in "ab")
    one, other = extract_backbone(first, alone(tmp_path)), extract_backbone(second, together(tmp_path, every))
    hashes = list(one.store.rows())
    assert np.array_equal(other.store.read(hashes), one.store.read(hashes))
