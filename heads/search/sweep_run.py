"""A sweep and its base options in, a folder with all its trials and the best options out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial

from featcache.atomic import make_folder
from featcache.counted_nouns import counted
from featcache.data import load_manifest, readable, weights_digest
from featcache.errors import OutputError, WorkError
from featcache.options import parse_options, require_frozen
from featcache.records import Manifest, digest
from featcache.session import Session, SessionKeywords
from heads.search.chosen_trial import judge_best
from heads.search.extraction_ahead import extract_ahead
from heads.search.objectives import OBJECTIVES
from heads.search.samplers import SamplerSetup, find_sampler, make_sampler
from heads.search.search_space import Space, make_space
from heads.search.spread_trainer import SpreadTrainer
from heads.search.study import SweepStudy, remove_study
from heads.search.sweep_files import write_best, write_history, write_summary, write_trials
from heads.search.sweep_options import SweepOptions
from heads.search.sweep_result import SweepResult
from heads.search.trial_loop import OptunaClock, TrialLoop
from heads.search.trial_outcomes import OUTCOMES_FOLDER, OutcomeFiles
from heads.search.trial_trainer import TrialTrainer

log = logging.getLogger("featcache")

DEFAULT_TRIALS = 100


def run_sweep(
    sweep: SweepOptions, base: Mapping[str, Any], *, fresh: bool = False, **session: Unpack[SessionKeywords]
) -> SweepResult:
    """Search `sweep.space` around the `base` options; a sweep that was stopped goes on where it was, unless `fresh`.

    Further keywords: `results_dir`, `device`, `allow_custom`, `progress`, `scratch`
    (`featcache.session.SessionKeywords`). Leaves `results/sweeps/<name>/` with the study, trials.csv, history.csv,
    sweep.json and the best options. Raises InputError before any work when something cannot be followed, WorkError when
    no trial came to an end.
    """
    return search(sweep, base, replace(Session.begin(**session), reuse=not fresh))


def search(sweep: SweepOptions, base: Mapping[str, Any], session: Session) -> SweepResult:
    """`run_sweep` within a session; one that reuses nothing forgets the trials of an earlier sweep of this name."""
    if sweep.name is None:
        sweep = sweep.model_copy(update={"name": "sweep"})
    space = make_space(sweep, base)
    options = parse_options(space.base, str(sweep.name))
    require_frozen(options)
    manifest, _ = load_manifest(options.data, options.cache.folder)
    folder = session.results_dir / "sweeps" / str(sweep.name)
    make_folder(folder)
    begin, clock = time.perf_counter(), OptunaClock()
    with _locked(folder), session.decoding_once(options.cache) as session:
        if not session.reuse:
            remove_study(sweep, folder)
        with clock.running():
            study = SweepStudy(sweep, space, options, folder, _data_seen(manifest))
            done, wanted = study.count(), _trial_count(sweep, space)
            setup = SamplerSetup(
                space.distributions,
                space.start(options),
                batch=sweep.batch_size,
                trials=wanted,
                seed=sweep.seed,
                finished=done,
            )
            study.use(make_sampler(sweep.sampler, setup))
        judged = [whole for o in sweep.objectives if (whole := OBJECTIVES[o].whole) is not None]
        trainer = TrialTrainer(options, study.claim, session, judged)
        if done:
            log.info("%s: goes on after %s", sweep.name, counted(done, "finished trial"))
        if done < wanted:
            extract_ahead(space, trainer)
        spread = trainer if session.workers is None else SpreadTrainer(trainer, session.workers)
        outcomes = OutcomeFiles(folder / OUTCOMES_FOLDER)
        TrialLoop(sweep, space, study, spread, clock, outcomes).run(wanted, session.progress)
        seconds = {
            "total": time.perf_counter() - begin,
            "extract": trainer.extract_seconds,
            "train": spread.train_seconds,
            "optuna": clock.seconds,
        }
        return _finish(sweep, space, study, folder, max(0, wanted - done), seconds)


def _finish(
    sweep: SweepOptions, space: Space, study: SweepStudy, folder: Path, new: int, seconds: dict[str, float]
) -> SweepResult:
    """Write what the sweep found."""
    trials, best = study.trials, study.best
    read = OutcomeFiles(folder / OUTCOMES_FOLDER).read
    chosen = judge_best(sweep.objectives, trials, best[0], read) if best else None
    write_trials(folder / "trials.csv", sweep, space, trials, chosen)
    write_history(folder / "history.csv", sweep, trials)
    if chosen is None:
        raise WorkError(_none_completed(folder, trials))
    configs = write_best(folder, sweep, space, best)
    importances = study.importances()
    write_summary(
        folder / "sweep.json",
        sweep,
        space,
        best,
        chosen,
        data=_data_fingerprint(space),
        importances=importances,
        seconds=seconds,
    )
    return SweepResult(
        folder, sweep.objectives, tuple(trials), tuple(best), tuple(configs), new, importances, seconds, chosen
    )


def _none_completed(folder: Path, trials: Sequence[FrozenTrial]) -> str:
    """Why a sweep has nothing to show."""
    failed = [(t.number, str(t.user_attrs["reason"])) for t in trials if "reason" in t.user_attrs]
    line = f"{folder}: none of {counted(len(trials), 'trial')} was completed."
    if failed:  # the others were pruned
        number, reason = failed[-1]
        line += f" Trial {number}, the last to fail, says: {reason.rstrip('.')}."
    return f"{line} When the reason is mended, --fresh begins anew."


def _data_seen(manifest: Manifest) -> str:
    """What trials must have in common of the data: the images, and what those count that any of them may train on."""
    weights = weights_digest((*manifest.of("train"), *manifest.of("val")))
    return manifest.fingerprint if weights is None else digest([manifest.fingerprint, weights])


def _data_fingerprint(space: Space) -> str:
    """The fingerprint of the images that trials saw: those that can be read, as runs have it."""
    options = parse_options(space.base)
    manifest, memo = load_manifest(options.data, options.cache.folder)
    return readable(manifest, memo).fingerprint


def _trial_count(sweep: SweepOptions, space: Space) -> int:
    """How many trials there are to be."""
    if not find_sampler(sweep.sampler).grid:
        return sweep.trials or DEFAULT_TRIALS
    size = math.prod(len(values) for values in space.grid.values())
    return min(size, sweep.trials or size)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process works on a sweep at a time."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"{folder}: another process works on this sweep. Wait for it, or give this one a name."
        ) from None
    try:
        yield
    finally:
        lock.release()
