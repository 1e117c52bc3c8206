"""A study without its trials in, the study with all of them out: ask for a batch, train it as stacks, tell."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from featcache.errors import OptionsError
from featcache.options import Options, require_frozen
from featcache.records import Progress
from heads.search.objectives import OBJECTIVES
from heads.search.point_keys import point_key
from heads.search.search_space import Space
from heads.search.spread_trainer import SpreadTrainer
from heads.search.spsa_climb import SEED_VALUES
from heads.search.study import SAME_AS, SweepStudy
from heads.search.sweep_options import SweepOptions
from heads.search.trial_figures import FIGURES, Figures
from heads.search.trial_outcomes import OutcomeFiles
from heads.search.trial_trainer import TrialResult, TrialTrainer

log = logging.getLogger("featcache")

WAIT = 1.0  # seconds, where all that is left is trained elsewhere
KEPT = (*FIGURES, "best_epochs", "pruned_at", SEED_VALUES)  # what a trial at a point that is known says as well


@dataclass
class OptunaClock:
    """Seconds spent in Optuna: choosing, comparing and storing trials."""

    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time within."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - begin


@dataclass(frozen=True)
class TrialLoop:
    """What the trials of a sweep go round in."""

    sweep: SweepOptions
    space: Space
    study: SweepStudy
    trainer: TrialTrainer | SpreadTrainer
    clock: OptunaClock
    outcomes: OutcomeFiles

    def run(self, wanted: int, progress: Progress) -> None:
        """Ask, train, tell, until there are `wanted` trials."""
        done = self.study.count()
        progress.begin(str(self.sweep.name), wanted, "trials")
        progress.advance(done)
        while done < wanted:
            with self.clock.running():
                trials = self.study.ask(max(0, min(self.sweep.batch_size, wanted - done - self.study.open_elsewhere())))
                known = self.study.results
                new = self._new(trials, known)
            # Trials are compared with those of earlier batches alone, so their order within a batch changes nothing.
            report = partial(self._report, new) if self.sweep.pruner != "none" else None
            results = self.trainer.train([self._options(t) for t in new], report)
            for trial, result in zip(new, results, strict=True):
                if result.outcomes is not None:
                    self.outcomes.keep(trial.number, result.outcomes)  # first: what is told has them
            with self.clock.running():
                found = dict(zip([t.number for t in new], results, strict=True))
                for trial in trials:
                    if trial.number in found:
                        self._tell(trial, found[trial.number])
                    else:
                        self._tell_again(trial)
            if self.study.shared:
                if not trials:
                    time.sleep(WAIT)  # the others are at the last ones
                done, before = self.study.count(), done
                progress.advance(done - before, self._note())
                continue
            done += len(trials)
            progress.advance(len(trials), self._note())
        progress.end(self._note())

    def _new(self, trials: Sequence[Trial], known: Mapping[str, FrozenTrial]) -> list[Trial]:
        """Those at points that no earlier trial was trained at, nor one before them among these."""
        points = {point_key(t.params): t for t in reversed(trials)}
        return sorted((t for point, t in points.items() if point not in known), key=lambda t: t.number)

    def _tell_again(self, trial: Trial) -> None:
        """Tell what came of the trial that was trained at the same point: equal options give equal results."""
        before = self.study.results.get(point_key(trial.params))
        if before is None:
            self._tell(trial, TrialResult(reason="the trial before it at the same point failed"))
            return
        kept = {name: value for name, value in before.user_attrs.items() if name in KEPT}
        figures = Figures(**{n: kept[n] for n in FIGURES if n in kept}) if "val_top1" in kept else None
        pruned = before.state == TrialState.PRUNED
        self.study.tell(trial, figures, pruned, {**kept, SAME_AS: before.number})

    def _options(self, trial: Trial) -> Options | OptionsError:
        """What a trial is trained with; an error where its options contradict each other."""
        try:
            options = self.space.options(trial.params)
            require_frozen(options)
        except OptionsError as error:
            return error
        return options

    def _report(self, trials: Sequence[Trial], place: int, epoch: int, figures: Figures) -> bool:
        """Whether the trial at a place of the batch is hopeless after an epoch."""
        with self.clock.running():
            return self.study.report(trials[place], epoch, figures)

    def _tell(self, trial: Trial, result: TrialResult) -> None:
        attributes: dict[str, Any] = {}
        if result.figures is not None:
            attributes = {**asdict(result.figures), "best_epochs": result.best_epochs}
            if len(self.sweep.objectives) == 1 and len(result.by_seed) > 1:
                value = OBJECTIVES[self.sweep.objectives[0]].value
                attributes[SEED_VALUES] = [value(one) for one in result.by_seed]
        if result.pruned_at is not None:
            attributes["pruned_at"] = result.pruned_at
        elif result.figures is None:
            attributes["reason"] = result.reason
            log.warning("trial %d failed: %s", trial.number, result.reason)
        self.study.tell(trial, result.figures, result.pruned_at is not None, attributes)

    def _note(self) -> str:
        """How it goes: the best so far, and what was not completed."""
        states = [t.state for t in self.study.trials]
        again = sum(SAME_AS in t.user_attrs for t in self.study.trials)
        dropped = f"{states.count(TrialState.PRUNED)} pruned, {states.count(TrialState.FAIL)} failed"
        dropped += f", {again} at points that were known" if again else ""
        best = self.study.best
        if not best:
            return dropped
        if len(self.sweep.objectives) > 1:
            return f"{len(best)} on the Pareto front, {dropped}"
        seen = best[0].user_attrs
        reached = f"best val top-1 {seen['val_top1']:.4f}, top-3 {seen['val_top3']:.4f}"
        return f"{reached} (trial {best[0].number}), {dropped}"
