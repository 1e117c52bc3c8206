"""Two workers of a Ray of this machine give what one process gives: rows, trials, trained networks."""

from __future__ import annotations

import csv
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import worker_functions
from spread_runs import TINY, Make, assert_same_store, options_maker, session, write_images

pytest.importorskip("ray")

from featcache.cluster import RayWorkers, connected_workers
from featcache.errors import InputError, OptionsError, WorkError
from featcache.extraction import extract_backbone, spread_backbones
from featcache.options import parse_options
from featcache.workers import Done, Failed, Job
from heads.experiment import train_run
from heads.search import SweepOptions
from heads.search.sweep_run import search


@pytest.fixture(scope="module")
def workers() -> Iterator[RayWorkers]:
    """Two: Ray and they take seconds to begin, so once for all tests here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with connected_workers("local:2") as made:
        yield made
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "digits")


@pytest.fixture
def make(images: Path, tmp_path: Path) -> Make:
    return options_maker(images, tmp_path)


def test_stores_are_those_of_one_process(workers: RayWorkers, make: Make) -> None:
    """Two backbones side by side."""
    views = {"data": {"augmentations": ["horizontal_flip"], "views": 2}}
    alone, together = (
        [parse_options(make(cache, name, **views)) for name in (TINY, "resume_networks:steady")]
        for cache in ("alone", "together")
    )
    expected = [extract_backbone(options, session(None)) for options in alone]
    spread_backbones(together, session(workers))
    found = [extract_backbone(options, session(workers)) for options in together]
    assert [e.new for e in found] == [0, 0] and [len(e.bad) for e in found] == [1, 1]
    for one, two in zip(expected, found, strict=True):
        assert_same_store(one.store.path, two.store.path)
        assert two.store.extraction()["images"] == one.store.extraction()["images"]


@pytest.mark.parametrize("stops", ["median", pytest.param("none", marks=pytest.mark.slow)])
def test_a_sweep_has_the_trials_of_one_process(workers: RayWorkers, make: Make, tmp_path: Path, stops: str) -> None:
    """And a run on the same features."""
    space = {
        "training.learning_rate": {"low": 1e-4, "high": 3e-1, "log": True},
        "model.backbone": [TINY, "resume_networks:steady"],
        "data.batch_size": [8, 16],
    }
    given = {"name": "s", "base": "-", "space": space, "objective": "val_loss", "seed": 3, "sampler": "random"}
    sweep = SweepOptions.model_validate({**given, "trials": 8, "batch": 4, "pruner": stops})
    tables: list[Any] = []
    for name, them in (("alone", None), ("together", workers)):
        base = make("cache", training={"seeds": 2, "epochs": 3})
        result = search(sweep, base, session(them, results_dir=tmp_path / name))
        rows = list(csv.DictReader((result.folder / "trials.csv").read_text().splitlines()))
        outcomes = {f.name: f.read_bytes() for f in (result.folder / "outcomes").iterdir()}
        run = train_run(parse_options(base), session(them, results_dir=tmp_path / name))
        tables.append((rows, [t.intermediate_values for t in result.trials], outcomes, run.metrics))
    assert len(tables[0][0]) == 8 and tables[0] == tables[1]


def test_what_fails_in_a_worker_is_said_here_and_the_others_go_on(workers: RayWorkers) -> None:
    jobs = [Job(worker_functions.square, (n,)) for n in (3, 0, 5, 7)]
    outcomes = workers.run(jobs)
    assert [o.value if isinstance(o, Done) else str(o.error) for o in outcomes] == [
        *(9, "ZeroDivisionError: nothing to square", 25, 49)
    ]
    (own,) = workers.run([Job(worker_functions.refuse, ())])
    assert isinstance(own, Failed) and isinstance(own.error, OptionsError) and own.error.exit_code == 2


def test_a_worker_that_is_killed_is_replaced_and_its_work_done_by_another(
    workers: RayWorkers, make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a range, by what it computes."""
    mark = tmp_path / "died"
    pids = {
        done.value for done in workers.run([Job(worker_functions.be_mortal, (mark,))] * 2) if isinstance(done, Done)
    }
    assert len(pids) == 2 and os.getpid() not in pids
    alone, together = (parse_options(make(cache, "worker_functions:mortal")) for cache in ("alone", "together"))
    expected = extract_backbone(alone, session(None))
    with caplog.at_level(logging.WARNING, "featcache"):
        found = extract_backbone(together, session(workers))
    assert int(mark.read_text()) in pids
    assert [line for line in caplog.messages if re.match(r"the worker [12] of 2 .* is gone: .* goes to another", line)]
    assert found.new == 176
    assert_same_store(expected.store.path, found.store.path)


@pytest.mark.slow
def test_work_that_kills_every_worker_ends(workers: RayWorkers) -> None:
    """The last test here: it leaves none of them."""
    with pytest.raises(WorkError, match=r"the worker [12] of 2 .* is gone: .*not the first at this work"):
        workers.run([Job(worker_functions.die, (signal.SIGKILL,))])


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'featcache\[cluster\]'"), connected_workers("local:2"):
        pass
