"""Two worker processes on this machine's CPU give what one process gives: rows, trials, trained networks."""

from __future__ import annotations

import csv
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import worker_functions
from spread_runs import CPU, TINY, Make, assert_same_store, options_maker, session, write_images

from featcache.errors import OptionsError, WorkError
from featcache.extraction import extract_backbone, spread_backbones
from featcache.options import parse_options
from featcache.records import Silent
from featcache.workers import Done, Failed, Job, ProcessWorkers, Workers
from heads.finetune import TuningPlan, fine_tune_run
from heads.finetune.distributed import meeting_place
from heads.search import SweepOptions
from heads.search.sweep_run import search


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two, which take seconds to import PyTorch: once for all tests here."""
    made = ProcessWorkers([CPU, CPU])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield made
    pids = [p.pid for p in made._processes]
    made.close()
    torch.set_num_threads(threads)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "digits")


@pytest.fixture
def make(images: Path, tmp_path: Path) -> Make:
    return options_maker(images, tmp_path)


def test_a_store_of_two_processes_is_that_of_one_row_for_row(workers: Workers, make: Make) -> None:
    views = {"data": {"augmentations": ["horizontal_flip"], "views": 3}}
    alone, together = (parse_options(make(cache, **views)) for cache in ("alone", "together"))
    one = extract_backbone(alone, session(None))
    two = extract_backbone(together, session(workers))
    assert (two.new, two.reused, len(two.bad)) == (one.new, one.reused, len(one.bad)) == (176, 0, 1)
    assert_same_store(one.store.path, two.store.path)
    assert extract_backbone(together, session(workers)).new == 0
    assert two.store.extraction()["images"] == one.store.extraction()["images"] == 176 + 2 * 132


def test_backbones_go_whole_to_the_devices_and_what_is_left_is_split(
    workers: Workers, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    names = [TINY, "squeezenet1_1", "resume_networks:steady"]
    missing = parse_options(make("together", "conftest:nothing"))
    alone, together = ([parse_options(make(cache, name)) for name in names] for cache in ("alone", "together"))
    expected = [extract_backbone(options, session(None)) for options in alone]
    told = Told()
    with caplog.at_level(logging.INFO, "featcache"):
        spread_backbones([missing, *together, *together], session(workers, progress=told))
    assert told.begun == [("2 backbones on 2 devices", 2 * 177, "img")] and told.advanced == 2 * 177
    stores = [e.store.path.name for e in expected]
    folder = Path(together[0].cache.dir)
    assert [(folder / name).exists() for name in stores] == [True, True, False]
    found = [extract_backbone(options, session(workers)) for options in together]
    assert [e.new for e in found] == [0, 0, 176]
    for one, two in zip(expected, found, strict=True):
        assert_same_store(one.store.path, two.store.path)


class Told(Silent):
    """Progress that is remembered."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, str]] = []
        self.advanced = 0

    def begin(self, what: str, total: int, unit: str) -> None:
        self.begun.append((what, total, unit))

    def advance(self, steps: int, note: str = "") -> None:
        self.advanced += steps


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "random", "trials": 16, "batch": 8, "pruner": "median"},
        pytest.param({"sampler": "tpe", "trials": 24, "batch": 6}, marks=pytest.mark.slow),
        pytest.param({"sampler": "spsa", "trials": 24}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: settings["sampler"],
)
def test_a_sweep_by_two_processes_has_the_trials_of_one(
    workers: Workers, make: Make, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Two backbones, batch sizes and trials that contradict themselves; those that are pruned too."""
    space = {
        "training.learning_rate": {"low": 1e-4, "high": 3e-1, "log": True},
        "model.backbone": [TINY, "resume_networks:steady"],
        "data.batch_size": [8, 16],
    }
    if settings["sampler"] == "spsa":
        del space["model.backbone"], space["data.batch_size"]
    given = {"name": "s", "base": "-", "space": space, "objective": "val_loss", "seed": 3, **settings}
    sweep = SweepOptions.model_validate(given)
    tables = []
    for name, them in (("alone", None), ("together", workers)):
        base = make("cache", training={"seeds": 2, "epochs": 4})
        result = search(sweep, base, session(them, results_dir=tmp_path / name))
        rows = list(csv.DictReader((result.folder / "trials.csv").read_text().splitlines()))
        outcomes = {f.name: f.read_bytes() for f in (result.folder / "outcomes").iterdir()}
        tables.append((rows, [t.intermediate_values for t in result.trials], outcomes))
    assert len(tables[0][0]) == settings["trials"]
    assert tables[0] == tables[1]
    if settings.get("pruner"):
        assert {row["state"] for row in tables[0][0]} >= {"complete", "pruned"}


def tuned(make: Make, backbone: str, folds: int | None = None, **training: Any) -> TuningPlan:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}]
    return TuningPlan(
        parse_options(
            make(
                "cache",
                f"resume_networks:{backbone}",
                data={"folds": folds},
                training={"unfreeze_schedule": schedule, "epochs": 3, **training},
            )
        )
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"folds": 2, "kept_of_folds": "average"},
        pytest.param({"folds": 3, "kept_of_folds": "measured", "seeds": 2}, marks=pytest.mark.slow),
    ],
    ids=["plain", "average", "measured"],
)
def test_end_to_end_training_by_two_processes_is_that_of_one(
    workers: Workers, make: Make, tmp_path: Path, more: dict[str, Any]
) -> None:
    plan = tuned(make, "steady", optimizer="sgd", **more)
    one, two = (fine_tune_run(plan, session(w, results_dir=tmp_path / n)) for w, n in ((None, "a"), (workers, "b")))
    assert two.summary["inputs"]["processes"] == 2 and two.folder == tmp_path / "b" / "run"
    assert two.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-4)
    a, b = (torch.load(run.folder / "best_model.pth", weights_only=True) for run in (one, two))
    for name, tensor in a["network"].items():
        assert torch.allclose(b["network"][name], tensor, rtol=1e-3, atol=1e-4), name
    reused = fine_tune_run(plan, session(workers, results_dir=tmp_path / "b", reuse=True))
    assert reused.reused and reused.summary == two.summary


def test_what_fails_in_a_worker_is_said_here_and_the_others_go_on(workers: Workers) -> None:
    jobs = [Job(worker_functions.square, (n,)) for n in (3, 0, 5, 7)]
    outcomes = workers.run(jobs)
    assert [o.value if isinstance(o, Done) else o.error for o in outcomes][::2] == [9, 25]
    assert isinstance(outcomes[1], Failed) and str(outcomes[1].error) == "ZeroDivisionError: nothing to square"
    (own,) = workers.run([Job(worker_functions.refuse, ())])
    assert isinstance(own, Failed) and isinstance(own.error, OptionsError) and own.error.exit_code == 2


def test_a_worker_that_is_killed_is_said_and_ends_the_others(workers: Workers) -> None:
    """The last test here: it leaves none of them."""
    jobs = [Job(worker_functions.own_id, ())] * 2
    pids = [done.value for done in workers.run(jobs) if isinstance(done, Done)]
    assert len(set(pids)) == 2
    with pytest.raises(WorkError, match=r"process of cpu \(1 of 2\) has died: SIGKILL .*What is committed is kept"):
        workers.run([Job(worker_functions.die, (signal.SIGKILL,)), Job(worker_functions.wait, (600,))])
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.slow
def test_the_process_that_failed_says_why_before_the_others_say_that_it_is_gone(workers: Workers) -> None:
    for _ in range(3):
        place = meeting_place()
        with pytest.raises(OptionsError, match="of the first alone"):
            workers.run([Job(worker_functions.fail_first, (place.port,))] * 2, together=True)


@pytest.mark.slow
def test_after_a_death_the_next_work_has_new_workers(workers: Workers, make: Make) -> None:
    with pytest.raises(WorkError, match="has died: exit code 3"):
        workers.run([Job(worker_functions.leave, (3,))])
    options = parse_options(make("cache"))
    assert extract_backbone(options, session(workers)).new == 176
