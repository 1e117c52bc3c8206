"""The options of a batch of trials in, their figures out: their heads train together on features held in memory."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from featcache.backbones import resolve_dims
from featcache.errors import FeatcacheError, WorkError
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import Options
from featcache.records import digest
from featcache.session import Session
from heads.runs import val_records
from heads.search.trial_figures import Figures, HeadFigures, costs, figures
from heads.search.trial_outcomes import TrialOutcomes, ValImages, trial_outcomes
from heads.training import EpochRow, Features, HeadSpec, TrainedHead, load_features, run_heads, train_heads

log = logging.getLogger("featcache")

# Told of a trial's figures in an epoch, by its place in the batch; says True to stop it.
Report = Callable[[int, int, Figures], bool]


@dataclass
class TrialResult:
    """What came of one trial: figures, or the reason why there are none."""

    figures: Figures | None = None
    pruned_at: int | None = None  # the epoch after which it was stopped
    reason: str = ""
    best_epochs: list[int] = field(default_factory=list)
    by_seed: list[Figures] = field(default_factory=list)  # the figures of each seed's heads
    outcomes: TrialOutcomes | None = None


@dataclass(frozen=True)
class Held:
    """Features in memory, to be trained on."""

    features: Features
    images: ValImages


@dataclass(frozen=True)
class Stage:
    """What trials with the same stage one share."""

    cached: CachedFeatures
    held: Held | None  # None where other processes train

    @property
    def here(self) -> Held:
        """What this process trains on."""
        assert self.held is not None
        return self.held


Cohort = tuple[str, int]  # the stage one and the batch size that trials share: they are trained together


class TrialTrainer:
    """Trains trials. What their backbones give is extracted once, and kept in memory while there is room."""

    def __init__(
        self,
        base: Options,
        claim: Callable[[Options, CachedFeatures], None],
        session: Session,
        also: Sequence[str] = (),
    ) -> None:
        """`also`: the metrics of the whole split that trials are judged by."""
        self.base, self.session, self.also, self._claim = base, session, tuple(also), claim
        self.extracted: dict[str, CachedFeatures] = {}  # by stage one, of a worker: what was extracted elsewhere
        self._stages: dict[str, Stage | FeatcacheError] = {}
        self.extract_seconds = 0.0
        self.train_seconds = 0.0

    def problem(self, options: Options) -> FeatcacheError | None:
        """Extract what trials with these options will need; why they cannot have it, if so."""
        stage = self.prepare(options)
        if isinstance(stage, FeatcacheError):
            return stage
        try:
            self._dims(stage, options)
        except FeatcacheError as error:
            return error
        return None

    def prepare(self, options: Options) -> Stage | FeatcacheError:
        """Extract what a trial will need; what fails is kept as the reason of the trials that need it."""
        stage_one = self.stage_one(options)
        key = digest(stage_one.as_dict())
        if key in self._stages:
            self._stages[key] = self._stages.pop(key)  # used last: dropped last
            return self._stages[key]
        begin = time.perf_counter()
        try:
            cached = self.extracted[key] if key in self.extracted else extract_all(stage_one, self.session)
            self._stages[key] = Stage(cached, None if self.session.workers else self._hold(cached, stage_one))
        except Exception as error:
            named = WorkError(f"{type(error).__name__}: {error}")
            self._stages[key] = error if isinstance(error, FeatcacheError) else named
        self.extract_seconds += time.perf_counter() - begin
        stage = self._stages[key]
        if isinstance(stage, Stage):
            self._claim(stage_one, stage.cached)
        self._make_room(stage_one.cache.max_features_gb * 1e9)
        return stage

    def _hold(self, cached: CachedFeatures, stage_one: Options) -> Held:
        limit = stage_one.cache.max_features_gb * 1e9
        features = load_features(cached, self.session.device, folds=stage_one.data.folds, limit_bytes=limit)
        next(iter(features.blocks(0)))  # read now, so that a damaged store is this backbone's failure
        return Held(features, ValImages.of(val_records(features, cached)))

    def cohorts(
        self, trials: Sequence[Options | FeatcacheError], results: Sequence[TrialResult]
    ) -> dict[Cohort, dict[int, Options]]:
        """Which trials are trained together, by their places, what they need being extracted; the others have their
        reason among the `results`."""
        alike: dict[Cohort, dict[int, Options]] = {}
        for place, options in enumerate(trials):
            if isinstance(options, FeatcacheError):
                results[place].reason = str(options)
                continue
            stage = self.prepare(options)
            if isinstance(stage, Stage):
                key = digest(self.stage_one(options).as_dict())
                alike.setdefault((key, options.data.batch_size), {})[place] = options
            else:
                results[place].reason = str(stage)
        return alike

    def train(self, trials: Sequence[Options | FeatcacheError], report: Report | None) -> list[TrialResult]:
        """Train every head of every trial; one that fails has its reason, and the others go on. Nobody is told of
        epochs where there is no `report`."""
        results = [TrialResult() for _ in trials]
        alike = self.cohorts(trials, results)
        begin = time.perf_counter()
        for (_, batch_size), places in alike.items():
            try:
                # Again, where another backbone's features took its room.
                stage = self.prepare(next(iter(places.values())))
                if isinstance(stage, FeatcacheError):
                    raise stage
                self._train(stage, batch_size, places, results, report)
            except Exception as error:  # torch raises what it likes; the other stacks are not its concern
                for place in places:
                    said = str(error) if isinstance(error, FeatcacheError) else f"{type(error).__name__}: {error}"
                    results[place].figures, results[place].outcomes, results[place].reason = None, None, said
        self.train_seconds += time.perf_counter() - begin
        return results

    def _train(
        self,
        stage: Stage,
        batch_size: int,
        trials: Mapping[int, Options],
        results: list[TrialResult],
        report: Report | None,
    ) -> None:
        heads: list[HeadSpec] = []
        owners: list[int] = []
        for place, options in trials.items():
            try:
                own = run_heads(options, self._dims(stage, options), len(stage.here.features.folds))
            except FeatcacheError as error:
                results[place].reason = str(error)
                continue
            heads += own
            owners += [place] * len(own)
        watcher = _Watcher(stage, heads, owners, results, report)
        kept = {"keep_weights": False, "keep_outcomes": True}
        trained = train_heads(stage.here.features, heads, batch_size=batch_size, also=self.also, watch=watcher, **kept)
        for place in dict.fromkeys(owners):
            mine = [t for t, owner in zip(trained, owners, strict=True) if owner == place]
            self._settle(results[place], stage, mine, trials[place])

    def _settle(self, result: TrialResult, stage: Stage, heads: Sequence[TrainedHead], options: Options) -> None:
        diverged = next((h for h in heads if h.diverged is not None), None)
        if diverged is not None:
            result.reason = f"the loss of seed {diverged.seed} was not finite in epoch {diverged.diverged}"
            return
        result.best_epochs = [h.best_epoch for h in heads]
        dims = self._dims(stage, options)
        result.figures = _figures(stage, dims, heads, [h.best for h in heads])
        seeds = ([h for h in heads if h.seed == seed] for seed in dict.fromkeys(h.seed for h in heads))
        result.by_seed = [_figures(stage, dims, own, [h.best for h in own]) for own in seeds]
        if result.pruned_at is None:
            metric = options.training.selection_metric
            result.outcomes = trial_outcomes(stage.here.features, heads, stage.here.images, metric)

    def _dims(self, stage: Stage, options: Options) -> tuple[int, ...]:
        classes = len(stage.cached.manifest.classes)
        return resolve_dims(options.model.classifier_dims, options.model.backbone, stage.cached.features, classes)

    def stage_one(self, options: Options) -> Options:
        """Options whose stage one is that of the trial, and all else that of the base: its head is the one that
        latency is measured with, lest each width be measured anew."""
        base = self.base
        dims = ("auto", *base.model.classifier_dims[1:])
        return options.model_copy(
            update={
                "model": options.model.model_copy(update={"classifier_dims": dims, "dropout": base.model.dropout}),
                "data": options.data.model_copy(update={"batch_size": base.data.batch_size}),
                "head": base.head,
                "training": base.training.model_copy(update={"precision": options.training.precision}),
            }
        )

    def _make_room(self, limit_bytes: float) -> None:
        """Forget the features used longest ago, the last ones excepted."""
        stages = {k: s for k, s in self._stages.items() if isinstance(s, Stage)}
        held = [(k, s.held.features.nbytes) for k, s in stages.items() if s.held is not None]
        while len(held) > 1 and sum(size for _, size in held) > limit_bytes:
            del self._stages[held.pop(0)[0]]


class _Watcher:
    """Gathers the epochs of a trial's heads, reports the trial when it has all of one, and stops it when told to."""

    def __init__(
        self,
        stage: Stage,
        heads: Sequence[HeadSpec],
        owners: Sequence[int],
        results: Sequence[TrialResult],
        report: Report | None,
    ) -> None:
        self._stage, self._heads, self._owners, self._results, self._report = stage, heads, owners, results, report
        self._rows: dict[tuple[int, int], dict[int, EpochRow]] = {}

    def __call__(self, head: int, row: EpochRow) -> bool:
        place = self._owners[head]
        result = self._results[place]
        if self._report is None:
            return False
        if result.pruned_at is not None:
            return True
        rows = self._rows.setdefault((place, row.epoch), {})
        rows[head] = row
        if len(rows) < self._owners.count(place):
            return False
        del self._rows[place, row.epoch]
        own = [TrainedHead(self._heads[h].seed, self._heads[h].fold) for h in rows]
        seen = _figures(self._stage, self._heads[head].dims, own, list(rows.values()))
        if math.isfinite(seen.val_loss) and self._report(place, row.epoch, seen):
            result.pruned_at = row.epoch
        return result.pruned_at is not None


def _figures(stage: Stage, dims: tuple[int, ...], heads: Sequence[TrainedHead], epochs: Sequence[EpochRow]) -> Figures:
    """The figures of a trial whose heads reached these epochs."""
    folds = stage.here.features.folds
    reached = [
        HeadFigures(head.seed, len(folds[head.fold].val), epoch) for head, epoch in zip(heads, epochs, strict=True)
    ]
    return figures(reached, costs(stage.cached.profile, stage.cached.dims, dims), stage.here.images.independent)
