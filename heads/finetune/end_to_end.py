"""`fine_tune`: options with an unfreeze schedule become one run folder, backbone and head trained together."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from featcache.devices import device_name, products_in
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import Options, as_options
from featcache.records import SILENT
from featcache.session import Session, SessionKeywords
from featcache.workers import Done, Job, Worker
from heads.distill import lesson_of, require_lesson
from heads.finetune.checkpoints import Checkpoints, Finished, Position
from heads.finetune.distributed import Processes, connected, meeting_place, processes
from heads.finetune.epoch_choice import EpochChoice
from heads.finetune.fold_run import train_in_folds
from heads.finetune.phase1_start import Phase1Start, load_phase1_start
from heads.finetune.run_setup import RunSetup
from heads.finetune.tuned_network import Network, load_network, make_setup, make_trainer, prepare, started
from heads.finetune.tuned_result import make_tuned_result
from heads.finetune.tuning_plan import TuningPlan
from heads.finetune.unfreezing import require_schedule
from heads.runs import (
    Run,
    load_run_record,
    make_inputs,
    recording,
    results_folder,
    run_folder,
    same_run,
    warn_of_leakage,
    write_record,
    write_run,
)
from heads.training import START

log = logging.getLogger("featcache")


def fine_tune(
    options: Options | Mapping[str, Any] | str | Path,
    *,
    from_run: str | Path | None = None,
    keep_head: bool = True,
    plain: bool = False,
    **session: Unpack[SessionKeywords],
) -> Run:
    """Train backbone and head end to end along `training.unfreeze_schedule`; writes a run folder like `train_model`.

    Accepts an Options, a plain dict or the path of an options file. `from_run` is the Phase 1 run that this one comes
    from: its head is where training begins (a fresh one unless `keep_head`), and the leaderboard shows the gain over
    it. With `plain` nothing of the frozen part is kept: every epoch runs the whole network, to the same losses within
    rounding. Further keywords: `results_dir`, `device`, `allow_custom`, `reuse`, `progress`, `scratch`
    (`featcache.session.SessionKeywords`); with `reuse` a finished run is given back, and one that was stopped goes on
    after its last whole epoch. Under `torchrun` every process takes a share of each batch.

    Raises InputError before any work when the options cannot be followed, WorkError when the cached features are not
    the network's (parity), NonFiniteError when a loss is not finite: the last good checkpoint is kept.
    """
    checked = as_options(options)
    require_schedule(checked)
    plan = TuningPlan(checked, Path(from_run) if from_run is not None else None, keep_head)
    return fine_tune_run(plan, Session.begin(**session), plain=plain)


def fine_tune_run(plan: TuningPlan, session: Session, *, plain: bool = False) -> Run:
    """`fine_tune` within a session; of several devices each takes a share of each batch."""
    options = plan.options
    require_schedule(options)
    require_lesson(options)
    if session.workers is not None:
        return _tune_spread(plan, session, plain)
    with ExitStack() as stack:
        stack.enter_context(results_folder(session.results_dir))
        log_lines = stack.enter_context(recording())
        them = stack.enter_context(processes(session.device))
        stack.enter_context(training_mode(options, session.device))
        session = stack.enter_context(session.decoding_once(options.cache))
        network = load_network(options, session.allow_custom)
        start = None
        if plan.from_run is not None:
            start = load_phase1_start(plan.from_run, options, network.backbone, plan.keep_head)
        cached = _extracted(options, them, session)
        network = replace(network, backbone=network.backbone.at_depth(cached.manifest.depth))
        lesson = lesson_of(options, cached)
        folder = run_folder(session.results_dir, options)  # which may tell of it: not before the options are sound
        inputs = {
            **make_inputs(options, cached, device_name(session.device)),
            **(start.inputs if start is not None else {}),
            **(lesson.inputs if lesson is not None else {}),
            "plain": plain,
            "processes": them.count,
        }
        # By options, not by the run's folder, which other options may have taken when a stopped run goes on.
        own = folder.with_name(f".{options.experiment_name}-{options.short}.checkpoint")
        checkpoints = Checkpoints(own, inputs, writes=them.first)
        if them.agreed(session.reuse and same_run(folder, inputs) is not None):
            checkpoints.discard()
            log.info("%s: finished before with the same options on the same rows", folder)
            known = replace(load_run_record(folder), reused=True)
            warn_of_leakage(known)
            return known
        with them.first_alone():
            network, features = started(network, cached, start, options, session)
        setup = make_setup(options, features, network, them, session, plain=plain, lesson=lesson)
        prepare(network.backbone, setup)
        with checkpoints.held(fresh=not session.reuse) as position:
            them.wait()  # all have read the position, before the first goes on and writes
            if options.data.folds is None:
                _train(setup, network, start, checkpoints, position)
            else:
                train_in_folds(setup, cached, network, checkpoints, position)
            if them.first:
                result = make_tuned_result(setup, network, checkpoints, position, start)
                result = replace(result, distillation=lesson.record if lesson is not None else None)

                def write(new: Path) -> None:
                    write_record(new, options, cached, inputs, result, session.device)

                write_run(folder, log_lines, write)
        them.wait()
    return load_run_record(folder)


def _tune_spread(plan: TuningPlan, session: Session, plain: bool) -> Run:
    """The run by one process on each device; the failure of any ends all, and is raised."""
    workers, progress = session.workers, session.progress
    assert workers is not None
    extract_all(plan.options, session)  # over all devices, where training would leave it to the first
    place = meeting_place()
    how = (session.allow_custom, session.results_dir, session.reuse, plain)
    jobs = [Job(tune_share, (plan, place.port, *how))] * workers.count

    def tell(rank: int, method: str, arguments: tuple[Any, ...]) -> None:
        if rank == 0:
            getattr(progress, method)(*arguments)

    outcome = workers.run(jobs, together=True, tell=tell)[0]
    assert isinstance(outcome, Done)
    run: Run = outcome.value
    return run


def tune_share(
    worker: Worker, plan: TuningPlan, port: int, allow_custom: bool, results_dir: Path, reuse: bool, plain: bool
) -> Run:
    """In a worker: its part of a run; the first one speaks and writes."""
    rank = worker.place.rank
    progress = worker.progress if rank == 0 else SILENT
    session = Session(torch.device(worker.device), allow_custom, progress, None, results_dir, reuse)
    with connected(session.device, rank, worker.place.count, port):
        return fine_tune_run(plan, session, plain=plain)


@contextmanager
def training_mode(options: Options, device: torch.device) -> Iterator[None]:
    """Gradients, whatever mode the caller is in; float32 that is float32; and a GPU's convolutions add up in the same
    order every time: equal options, equal bits."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with products_in(options.training.precision, device), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.cudnn.deterministic = before


def _extracted(options: Options, them: Processes, session: Session) -> CachedFeatures:
    """Stage one; of several processes the first extracts, and the others find what it extracted."""
    with them.first_alone():
        return extract_all(options, session)


def _train(
    setup: RunSetup, network: Network, start: Phase1Start | None, checkpoints: Checkpoints, position: Position
) -> None:
    """Train the seeds that are not finished yet."""
    for seed in setup.training.seed_list[len(position.finished) :]:
        choice = EpochChoice(setup, make_trainer(setup, network, start, seed), seed, setup.dataset.val)
        begin = START
        if position.current is not None:
            begin = choice.restore(position.current)
            log.info("%s: seed %d goes on with epoch %d", setup.options.experiment_name, seed, begin)

        def commit(name: str, weights: dict[str, Tensor], logits: Tensor, choice: EpochChoice = choice) -> None:
            if name:
                checkpoints.save_best(name, weights, logits)
            position.current = choice.checkpoint()
            checkpoints.save(position)

        choice.run(begin, commit)
        position.finished.append(Finished(choice.result, choice.best))
        position.current = None
        checkpoints.save(position)
