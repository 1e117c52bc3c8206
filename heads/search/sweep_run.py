"""`run_sweep`: ask for a batch of trials, train them as stacks, tell; until there are as many as were wanted."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from featcache.atomic import make_folder
from featcache.data import load_manifest, readable
from featcache.errors import OptionsError, OutputError, WorkError
from featcache.options import Options, parse_options, require_frozen
from featcache.records import SILENT, Progress
from featcache.session import Session
from heads.search.objectives import MAXIMISED, Figures
from heads.search.samplers import make_sampler
from heads.search.search_space import Space, make_space
from heads.search.study import SweepStudy, remove_study
from heads.search.sweep_files import write_best, write_document, write_history, write_trials
from heads.search.sweep_options import Objective, SweepOptions
from heads.search.trial_trainer import TrialResult, TrialTrainer

log = logging.getLogger("featcache")

DEFAULT_TRIALS = 100
LEADING = 10  # trials that the command shows
EXTRACTED_AHEAD = 64  # combinations of choices that are extracted before the first trial


@dataclass(frozen=True)
class SweepResult:
    """A sweep that has all its trials."""

    folder: Path
    objectives: tuple[Objective, ...]
    trials: tuple[FrozenTrial, ...]
    best: tuple[FrozenTrial, ...]  # one, or the Pareto front
    configs: tuple[Path, ...]  # of the best, ready for `featcache train`
    new: int  # trials of this call
    importances: dict[str, float]
    seconds: dict[str, float]  # of this call: total, extract, train, optuna

    def leading(self) -> list[FrozenTrial]:
        """The Pareto front by its first objective, or the best few trials."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        chosen = list(self.best) if len(self.objectives) > 1 else complete
        best_first = self.objectives[0] in MAXIMISED
        return sorted(chosen, key=lambda t: t.values[0], reverse=best_first)[:LEADING]

    def lines(self) -> list[str]:
        """What came of it, for people."""
        states = [t.state for t in self.trials]
        kinds = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        counts = ", ".join(f"{states.count(s)} {n}" for n, s in kinds.items())
        total = max(self.seconds["total"], 1e-9)
        share = ", ".join(f"{n} {self.seconds[n]:.1f} s" for n in ("extract", "train"))
        lines = [
            f"{self.folder}: {len(self.trials)} trials ({counts}), {self.new} of them now in {total:.1f} s: {share}, "
            f"Optuna {self.seconds['optuna']:.1f} s ({self.seconds['optuna'] / total:.1%})"
        ]
        if self.importances:
            ranked = ", ".join(f"{k} {v:.2f}" for k, v in self.importances.items())
            lines.append(f"importance for {self.objectives[0]}: {ranked}")
        several = len(self.configs) > 1 or len(self.objectives) > 1
        where = self.configs[0].parent if several else self.configs[0]
        what = f"the {len(self.configs)} options of the Pareto front" if several else "the best options"
        return [*lines, f"{what}: {where}; `featcache train {where}` gives their runs, with test figures"]


@dataclass
class _Clock:
    """Seconds spent in Optuna: choosing, comparing and storing trials."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begin


def run_sweep(
    sweep: SweepOptions,
    base: Mapping[str, Any],
    *,
    results_dir: str | Path = "results",
    device: str | None = None,
    allow_custom: bool = False,
    fresh: bool = False,
    progress: Progress = SILENT,
) -> SweepResult:
    """Search `sweep.space` around the `base` options; a sweep that was stopped goes on where it was.

    Leaves `results/sweeps/<name>/` with the study, trials.csv, history.csv, sweep.json and the best options. Raises
    InputError before any work when something cannot be followed, WorkError when no trial came to an end.
    """
    session = Session.begin(
        device, allow_custom=allow_custom, progress=progress, results_dir=results_dir, reuse=not fresh
    )
    return search(sweep, base, session)


def search(sweep: SweepOptions, base: Mapping[str, Any], session: Session) -> SweepResult:
    """`run_sweep` within a session; one that reuses nothing forgets the trials of an earlier sweep of this name."""
    if sweep.name is None:
        sweep = sweep.model_copy(update={"name": "sweep"})
    space = make_space(sweep, base)
    options = parse_options(space.base, str(sweep.name))
    require_frozen(options)
    manifest, _ = load_manifest(options.data, options.cache.dir)
    folder = session.results_dir / "sweeps" / str(sweep.name)
    make_folder(folder)
    begin, clock = time.perf_counter(), _Clock()
    with _alone(folder), session.decoding_once(options.cache) as session:
        if not session.reuse:
            remove_study(sweep, folder)
        with clock.running():
            study = SweepStudy(sweep, space, options, folder, manifest.fingerprint)
            done, wanted = study.count(), _wanted(sweep, space)
            study.use(make_sampler(sweep, space, space.start(options), done))
        trainer = TrialTrainer(options, study.claim, session)
        if done:
            log.info("%s: goes on after %d finished trials", sweep.name, done)
        if done < wanted:
            _prepare(trainer, _combinations(space))
        _search(sweep, space, study, trainer, clock, wanted, session.progress)
        seconds = {
            "total": time.perf_counter() - begin,
            "extract": trainer.extract_seconds,
            "train": trainer.train_seconds,
            "optuna": clock.seconds,
        }
        return _finish(sweep, space, study, folder, max(0, wanted - done), seconds)


def _prepare(trainer: TrialTrainer, combinations: Sequence[Options]) -> None:
    """Extract ahead. What one combination lacks, its trials will say; what all lack, ends the sweep beforehand."""
    problems = [trainer.problem(options) for options in combinations]
    found = [p for p in problems if p is not None]
    for problem in dict.fromkeys(map(str, found)):
        log.error("%s", problem)
    if found and len(found) == len(problems):
        raise found[0]


def _search(
    sweep: SweepOptions,
    space: Space,
    study: SweepStudy,
    trainer: TrialTrainer,
    clock: _Clock,
    wanted: int,
    progress: Progress,
) -> None:
    """Ask, train, tell, until there are `wanted` trials."""
    done = study.count()
    progress.begin(str(sweep.name), wanted, "trials")
    progress.advance(done)
    while done < wanted:
        with clock.running():
            trials = study.ask(min(sweep.batch, wanted - done))
        results = trainer.train([_options(space, t) for t in trials], partial(_report, study, clock, trials))
        with clock.running():
            for trial, result in zip(trials, results, strict=True):
                _tell(study, trial, result)
        done += len(trials)
        progress.advance(len(trials), _note(study, sweep))
    progress.end(_note(study, sweep))


def _options(space: Space, trial: Trial) -> Options | OptionsError:
    """What a trial is trained with; an error where its options contradict each other."""
    try:
        options = space.options(trial.params)
        require_frozen(options)
    except OptionsError as error:
        return error
    return options


def _report(
    study: SweepStudy, clock: _Clock, trials: Sequence[Trial], place: int, epoch: int, figures: Figures
) -> bool:
    with clock.running():
        return study.report(trials[place], epoch, figures)


def _tell(study: SweepStudy, trial: Trial, result: TrialResult) -> None:
    attributes: dict[str, Any] = {}
    if result.figures is not None:
        attributes = {**asdict(result.figures), "best_epochs": result.best_epochs}
    if result.pruned_at is not None:
        attributes["pruned_at"] = result.pruned_at
    elif result.figures is None:
        attributes["reason"] = result.reason
        log.warning("trial %d failed: %s", trial.number, result.reason)
    study.tell(trial, result.figures, result.pruned_at is not None, attributes)


def _note(study: SweepStudy, sweep: SweepOptions) -> str:
    """How it goes: the best so far, and what was not completed."""
    states = [t.state for t in study.trials]
    dropped = f"{states.count(TrialState.PRUNED)} pruned, {states.count(TrialState.FAIL)} failed"
    best = study.best
    if not best:
        return dropped
    if len(sweep.objectives) > 1:
        return f"{len(best)} on the Pareto front, {dropped}"
    seen = best[0].user_attrs
    return f"best val top-1 {seen['val_top1']:.4f}, top-3 {seen['val_top3']:.4f} (trial {best[0].number}), {dropped}"


def _finish(
    sweep: SweepOptions, space: Space, study: SweepStudy, folder: Path, new: int, seconds: dict[str, float]
) -> SweepResult:
    """Write what the sweep found."""
    trials, best = study.trials, study.best
    write_trials(folder / "trials.csv", sweep, space, trials)
    write_history(folder / "history.csv", sweep, trials)
    if not best:
        reasons = [t.user_attrs.get("reason", "") for t in trials]
        raise WorkError(
            f"{folder}: none of {len(trials)} trials was completed. The last one: {reasons[-1]} When the reason is "
            "mended, --fresh begins anew."
        )
    configs = write_best(folder, sweep, space, best)
    importances = study.importances()
    write_document(
        folder / "sweep.json",
        {
            "options": {**sweep.model_dump(mode="json"), "base": space.base},
            "best": [{"trial": t.number, "options": t.params, "values": t.values, **t.user_attrs} for t in best],
            "data": _seen(space),
            "directions": ["maximize" if o in MAXIMISED else "minimize" for o in sweep.objectives],
            "importances": importances,
            "seconds_of_the_last_call": seconds,
        },
    )
    return SweepResult(folder, sweep.objectives, tuple(trials), tuple(best), tuple(configs), new, importances, seconds)


def _seen(space: Space) -> str:
    """The fingerprint of the images that trials saw: those that can be read, as runs have it."""
    options = parse_options(space.base)
    manifest, memo = load_manifest(options.data, options.cache.dir)
    return readable(manifest, memo).fingerprint


def _wanted(sweep: SweepOptions, space: Space) -> int:
    """How many trials there are to be."""
    if sweep.sampler != "grid":
        return sweep.trials or DEFAULT_TRIALS
    size = math.prod(len(values) for values in space.grid.values())
    return min(size, sweep.trials or size)


def _combinations(space: Space) -> list[Options]:
    """The choices that need extractions of their own, where they are few: better done, or found impossible, at once."""
    choices = {
        k: d.choices
        for k, d in space.distributions.items()
        if isinstance(d, optuna.distributions.CategoricalDistribution) and k.split(".")[0] in {"model", "data"}
    }
    if math.prod(len(c) for c in choices.values()) > EXTRACTED_AHEAD:
        return []
    found = []
    for values in itertools.product(*choices.values()):
        try:
            found.append(space.options(dict(zip(choices, values, strict=True))))
        except OptionsError:
            continue  # its trials will say so
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
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
