"""A batch of trials shared out to worker processes, cohort by cohort; figures come back as if all were trained here.

A head's result does not depend on the heads beside it, and a pruner compares a trial with those of earlier batches: so
which device trains what changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from featcache.errors import FeatcacheError
from featcache.extraction import CachedFeatures
from featcache.options import Options
from featcache.session import Session
from featcache.workers import Done, Job, Worker, Workers
from heads.search.trial_figures import Figures
from heads.search.trial_trainer import Cohort, Report, Stage, TrialResult, TrialTrainer


@dataclass(frozen=True)
class Share:
    """What one worker trains of a batch."""

    trials: dict[int, Options]  # by their places in the batch
    stages: frozenset[str]  # whose features it needs


@dataclass(frozen=True)
class Lacking:
    """A worker's question: where are the features of these stages, which it has not been told of before?"""

    stages: frozenset[str]


class SpreadTrainer:
    """Trains trials as `TrialTrainer` does, on several devices."""

    def __init__(self, trainer: TrialTrainer, workers: Workers) -> None:
        self._trainer, self._workers = trainer, workers
        self._extracted: dict[str, CachedFeatures] = {}  # by stage one
        self.train_seconds = 0.0

    def train(self, trials: Sequence[Options | FeatcacheError], report: Report | None) -> list[TrialResult]:
        """Train every head of every trial; raises WorkError when a worker dies: the trials of earlier batches stay."""
        results = [TrialResult() for _ in trials]
        alike = self._trainer.cohorts(trials, results)
        begin = time.perf_counter()
        spread = [cohorts for cohorts in shared_out(alike, self._workers.count) if cohorts]  # the first are the fullest
        shares = [self._share(cohorts) for cohorts in spread]
        trainer, reports = self._trainer, report is not None
        jobs = [Job(train_share, (trainer.base, trainer.also, share, reports)) for share in shares]

        def answer(asked: Lacking | tuple[int, int, Figures]) -> dict[str, CachedFeatures] | bool:
            if isinstance(asked, Lacking):
                return {key: self._extracted[key] for key in asked.stages}
            assert report is not None
            return report(*asked)

        outcomes = self._workers.run(jobs, answer=answer)
        for share, outcome in zip(shares, outcomes, strict=True):
            for number, place in enumerate(share.trials):
                if isinstance(outcome, Done):
                    results[place] = outcome.value[number]
                else:
                    results[place].reason = outcome.text
        self.train_seconds += time.perf_counter() - begin
        return results

    def _share(self, cohorts: Sequence[tuple[Cohort, Mapping[int, Options]]]) -> Share:
        for (key, _), trials in cohorts:
            stage = self._trainer.prepare(next(iter(trials.values())))
            assert isinstance(stage, Stage)
            self._extracted[key] = stage.cached
        stages = frozenset(key for (key, _), _ in cohorts)
        return Share({place: one for _, trials in cohorts for place, one in trials.items()}, stages)


def shared_out(
    alike: Mapping[Cohort, Mapping[int, Options]], count: int
) -> list[list[tuple[Cohort, Mapping[int, Options]]]]:
    """Cohorts for each of `count` workers: those of more than a fair share are cut, then the largest go first, each to
    the worker that has the fewest trials. The same batch is always shared out in the same way."""
    fair = max(1, -(-sum(map(len, alike.values())) // count))
    pieces: list[tuple[Cohort, Mapping[int, Options]]] = []
    for cohort, trials in alike.items():
        left = iter(trials.items())
        while piece := dict(islice(left, fair)):
            pieces.append((cohort, piece))
    shares: list[list[tuple[Cohort, Mapping[int, Options]]]] = [[] for _ in range(count)]
    for largest in sorted(pieces, key=lambda one: -len(one[1])):
        min(shares, key=lambda share: sum(len(trials) for _, trials in share)).append(largest)
    return shares


def train_share(worker: Worker, base: Options, also: Sequence[str], share: Share, reports: bool) -> list[TrialResult]:
    """In a worker: the results of its trials, in their order; it asks whether a trial is hopeless if it `reports`."""
    trainer = _trainer(worker, base, also)
    if lacking := share.stages - trainer.extracted.keys():
        trainer.extracted |= worker.ask(Lacking(lacking))
    places = list(share.trials)

    def report(number: int, epoch: int, figures: Figures) -> bool:
        return bool(worker.ask((places[number], epoch, figures)))

    return trainer.train(list(share.trials.values()), report if reports else None)


def _trainer(worker: Worker, base: Options, also: Sequence[str]) -> TrialTrainer:
    """The one that this process has kept since the last batch, with its features."""
    if "trainer" not in worker.kept:
        session = Session(torch.device(worker.device))
        worker.kept["trainer"] = TrialTrainer(base, lambda *_: None, session, also)
    kept: TrialTrainer = worker.kept["trainer"]
    return kept
