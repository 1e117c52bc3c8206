"""The study of a sweep: what was told of trials in, the next trials out; in memory, and stored when finished.

A sampler reads every trial again and again, which a database answers in tens of milliseconds and memory in one. So the
storage only ever gets what is over: it holds no trial that a killed process left running, and a sweep that goes on
starts from exactly what was told.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from featcache.errors import OptionsError, RunError
from featcache.extraction import CachedFeatures
from featcache.options import LATER_TRAINING_OPTIONS, HeadOptions, Options, TrainingOptions
from featcache.records import digest
from heads.search.objectives import OBJECTIVES
from heads.search.point_keys import point_key
from heads.search.samplers import find_sampler
from heads.search.search_space import Space
from heads.search.sweep_options import SweepOptions
from heads.search.trial_claims import TrialClaims, claims_study
from heads.search.trial_figures import Figures
from heads.search.trial_outcomes import OUTCOMES_FOLDER

IDENTITY = "featcache:sweep"
SEEN = "featcache:seen"
SAME_AS = "same_as"  # attribute of a trial at a point that was trained before: the number of the trial that was
ELSEWHERE = "elsewhere"  # attribute of what was asked for in vain: another process trains it
BY = "featcache:by"  # attribute of a trial of a shared study: who told it
SERVERS = ("postgresql", "mysql")  # what storages begin with that several machines can share
REDRAWS = 5  # of what others train, before this one waits
STARTUP_TRIALS = 8  # finished ones that a pruner wants to have seen before it stops any


class SweepStudy:
    """A sweep's trials, in memory and in its storage."""

    def __init__(self, sweep: SweepOptions, space: Space, base: Options, folder: Path, data: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sweep, self._space = sweep, space
        self._objectives = [OBJECTIVES[name] for name in sweep.objectives]
        self._lays_grid = find_sampler(sweep.sampler).grid
        self._directions = [
            StudyDirection.MAXIMIZE if one.maximise else StudyDirection.MINIMIZE for one in self._objectives
        ]
        url = storage_url(sweep.storage) if sweep.storage else f"sqlite:///{(folder / 'study.db').absolute()}"
        try:
            self._stored = optuna.create_study(
                storage=url, study_name=sweep.name, directions=self._directions, load_if_exists=True
            )
        except Exception as error:  # the database's own errors, whichever it is
            raise _unopened(url, error) from None
        self._claim(digest(_identity(sweep, space, base, data)), url)
        self._memory: optuna.Study | None = None
        self._url = url
        self._claims: TrialClaims | None = None
        self._known = 0  # trials of the storage that are in memory

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every finished trial, in order."""
        ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        return [t for t in self._live.get_trials(deepcopy=False, states=ended) if ELSEWHERE not in t.user_attrs]

    @property
    def best(self) -> list[FrozenTrial]:
        """The best trial, or with several objectives the Pareto front; empty where none is complete."""
        if not any(t.state == TrialState.COMPLETE for t in self.trials):
            return []
        if len(self._directions) == 1:
            return [self._live.best_trial]
        return [t for t in self._live.best_trials if SAME_AS not in t.user_attrs]

    def claim(self, stage_one: Options, cached: CachedFeatures) -> None:
        """Note what the trials with these options see; raises RunError when earlier ones saw something else.

        Weights in a file can change, and a hub can be out of reach the first time: options alone do not say it.
        """
        model, data = (
            stage_one.model.model_dump(mode="json"),
            stage_one.data.model_dump(mode="json", exclude={"workers", "decoders"}),
        )
        key = digest([model, data, stage_one.training.precision])[:16]
        seen: list[Any] = [cached.identities()]
        if any(one.measured for one in self._objectives):
            seen += [cached.profile.device, cached.profile.latency_ms.batch_size]
        known = dict(self._stored.user_attrs.get(SEEN, {}))
        if known.setdefault(key, digest(seen)) != digest(seen):
            raise RunError(
                f"{stage_one.model.backbone}: earlier trials of {self._sweep.name!r} saw other features (other weights "
                "or another cache.dtype) or another latency, so new ones would not compare. Bring back what there was, "
                "give this sweep another name, or start it anew with --fresh."
            )
        self._stored.set_user_attr(SEEN, known)

    def use(self, sampler: BaseSampler) -> None:
        """Choose trials with `sampler` from here on."""
        prune = self._sweep.pruner == "median" and len(self._directions) == 1
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS) if prune else optuna.pruners.NopPruner()
        self._memory = optuna.create_study(directions=self._directions, sampler=sampler, pruner=pruner)
        self._fetch()

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Others may work on the study too inside the block, where its storage can be shared by several machines."""
        if not self._url.startswith(SERVERS):
            yield
            return
        self._claims = TrialClaims(self._url, str(self._sweep.name))
        try:
            yield
        finally:
            self._claims.close()

    @property
    def results(self) -> dict[str, FrozenTrial]:
        """By point (`point_key`) the trial that was trained there, to its end or until it was pruned."""
        ended = [t for t in self.trials if t.state != TrialState.FAIL and SAME_AS not in t.user_attrs]
        return {point_key(t.params): t for t in reversed(ended)}

    def count(self) -> int:
        """Finished trials in the storage; those of others are taken in."""
        if self._claims is not None:
            self._fetch()
        return len(self._stored.get_trials(deepcopy=False))

    @property
    def shared(self) -> bool:
        """Whether other processes may work on it too."""
        return self._claims is not None

    def open_elsewhere(self) -> int:
        """How many points others train at the moment."""
        if self._claims is None:
            return 0
        return len(self._claims.elsewhere() - {point_key(t.params) for t in self.trials})  # those that failed are over

    def ask(self, count: int) -> list[Trial]:
        """The next trials; of a grid its next points. Where others work on the study too, none that they train: fewer,
        or none at all, for the moment."""
        if self._claims is None:
            return self._ask(count, set())
        self._fetch()
        found: list[Trial] = []
        for redraw in range(REDRAWS):
            asked = self._ask(count - len(found), self._claims.elsewhere())
            mine = self._claims.take({point_key(t.params) for t in asked} - self.results.keys())
            self._fetch()  # what was told between the asking and the claiming
            told = self.results.keys()
            wanted = told | mine if redraw == REDRAWS - 1 else mine - told  # in a small space all may be known
            for trial in asked:
                if point_key(trial.params) in wanted:
                    found.append(trial)
                else:
                    trial.set_user_attr(ELSEWHERE, True)
                    self._live.tell(trial, state=TrialState.FAIL)
            if len(found) == count:
                break
        return found

    def _ask(self, count: int, taken: Set[str]) -> list[Trial]:
        if self._lays_grid:
            trials = self._live.get_trials(deepcopy=False)
            tried = {point_key(t.params) for t in trials if ELSEWHERE not in t.user_attrs}
            points = list(
                itertools.islice((p for p in self._space.points() if point_key(p) not in tried | taken), count)
            )
            for point in points:
                self._live.enqueue_trial(point)
            count = len(points)
        return [self._live.ask(self._space.distributions) for _ in range(count)]

    def _fetch(self) -> None:
        """Take in what is stored and not in memory yet: of before this process began, or of others."""
        stored = self._stored.get_trials(deepcopy=False)
        own = None if self._claims is None else self._claims.owner
        self._live.add_trials([t for t in stored[self._known :] if own is None or t.user_attrs.get(BY) != own])
        self._known = len(stored)

    def report(self, trial: Trial, epoch: int, figures: Figures) -> bool:
        """Tell of an epoch of a trial; whether it is hopeless."""
        if len(self._directions) > 1 or self._sweep.pruner == "none":
            return False
        trial.report(self._objectives[0].value(figures), epoch)
        return trial.should_prune()

    def tell(self, trial: Trial, figures: Figures | None, pruned: bool, attributes: Mapping[str, Any]) -> None:
        """A trial is over: with figures, pruned, or failed for the reason among its attributes. Stores it."""
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if self._claims is not None:
            trial.set_user_attr(BY, self._claims.owner)
        if pruned:
            self._live.tell(trial, state=TrialState.PRUNED)
        elif figures is None:
            self._live.tell(trial, state=TrialState.FAIL)
        else:
            self._live.tell(trial, [one.value(figures) for one in self._objectives])
        self._stored.add_trial(self._live.get_trials(deepcopy=False)[trial.number])

    def importances(self) -> dict[str, float]:
        """How much of the objective's variance each option explains (Optuna's default evaluator); empty where too few
        trials are complete, or none of them differs."""
        complete = [t for t in self.trials if t.state == TrialState.COMPLETE]
        varied = [k for k in self._space.distributions if len({str(t.params.get(k)) for t in complete}) > 1]
        if len(complete) < 4 or not varied:
            return {}
        if len({t.values[0] for t in complete}) == 1:
            return {}
        # The evaluator asks which options make its target small.
        sign = -1.0 if self._directions[0] == StudyDirection.MAXIMIZE else 1.0
        target = (lambda t: sign * float(t.values[0])) if len(self._directions) > 1 else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says just that
            return dict(optuna.importance.get_param_importances(self._live, target=target, params=varied))

    @property
    def _live(self) -> optuna.Study:
        assert self._memory is not None
        return self._memory

    def _claim(self, identity: str, url: str) -> None:
        known = self._stored.user_attrs.get(IDENTITY)
        if known is None and not self._stored.get_trials(deepcopy=False):
            self._stored.set_user_attr(IDENTITY, identity)
        elif known != identity:
            raise RunError(
                f"{url}: the study {self._sweep.name!r} there is of another sweep: its base options, space, objective, "
                "sampler, images' weights or images were others. Give this one another name, or start it anew with "
                "--fresh."
            )


def remove_study(sweep: SweepOptions, folder: Path) -> None:
    """Forget an earlier sweep of this name, and what it left in its folder."""
    for name in ("trials.csv", "history.csv", "best.json", "sweep.json", "pareto", OUTCOMES_FOLDER):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if sweep.storage is None:
        for file in folder.glob("study.db*"):
            file.unlink()
        return
    url = storage_url(sweep.storage)
    try:
        known = optuna.get_all_study_names(url)
        for name in (str(sweep.name), claims_study(str(sweep.name))):
            if name in known:
                optuna.delete_study(study_name=name, storage=url)
    except Exception as error:  # the database's own errors, whichever it is
        raise _unopened(url, error) from None


def storage_url(given: str) -> str:
    """A storage as a sweep's file names it, ${NAME} being what the environment says: passwords stay out of files.
    Raises OptionsError where it says nothing."""
    url = os.path.expandvars(given)
    if (unset := re.search(r"\$\{(\w+)\}", url)) is not None:
        raise OptionsError(f"storage {given}: the environment has no {unset[1]}. Set it, or take it out of the URL.")
    return url


def _unopened(url: str, error: Exception) -> OptionsError:
    url = re.sub(r"(//[^/:@]*):[^/@]*@", r"\1:***@", url)  # a password is no matter of messages
    if "locked" in str(error):
        return OptionsError(f"storage {url}: another program keeps it locked. Try again when it is done.")
    return OptionsError(
        f"storage {url}: cannot be opened ({str(error).splitlines()[0]}). Expected an Optuna storage URL such as "
        "sqlite:///study.db; --fresh begins a damaged study.db of the sweep's own anew."
    )


def _identity(sweep: SweepOptions, space: Space, base: Options, data: str) -> Sequence[Any]:
    """All that makes trials comparable; more trials, larger batches or another pruner only go on."""
    distributions = {k: optuna.distributions.distribution_to_json(d) for k, d in space.distributions.items()}
    options = base.model_dump(mode="json", exclude={"experiment_name": True, "cache": True, "profile": True})
    del options["data"]["workers"], options["data"]["decoders"]
    if base.data.columns is not None and base.data.columns.weight is None:  # as it was before there was the option
        del options["data"]["columns"]["weight"]
    if base.head == HeadOptions():  # likewise
        del options["head"]
    for key in LATER_TRAINING_OPTIONS:  # likewise
        if options["training"][key] == TrainingOptions.model_fields[key].default:
            del options["training"][key]
    return [distributions, space.grid, options, list(sweep.objectives), sweep.sampler, sweep.seed, data]
