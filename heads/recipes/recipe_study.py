"""The recipes that were tried, kept in `study.db`; the next one, chosen by them and a seed alone."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from featcache.errors import RunError
from heads.recipes.recipe_space import HEAD, RecipeSpace
from heads.recipes.search_options import RecipeSearch

IDENTITY = "featcache:recipes"
NAME = "recipes"
STARTUP_TRIALS = 6  # drawn at random before TPE has anything to go by
ANEW = 20  # draws for a recipe that was not tried yet


class RecipeStudy:
    """Trials one after the other. A killed search loses the trial in flight and asks for the same one again."""

    def __init__(self, search: RecipeSearch, space: RecipeSpace, folder: Path, identity: str, maximise: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._search, self._space = search, space
        self._direction = StudyDirection.MAXIMIZE if maximise else StudyDirection.MINIMIZE
        url = f"sqlite:///{(folder / 'study.db').absolute()}"
        self._stored = optuna.create_study(storage=url, study_name=NAME, direction=self._direction, load_if_exists=True)
        known = self._stored.user_attrs.get(IDENTITY)
        if known is None:
            self._stored.set_user_attr(IDENTITY, identity)
        elif known != identity:
            raise RunError(
                f"{folder}: holds the search of other recipes, or around other options or images. Take another folder "
                "of results, or start it anew with --fresh."
            )
        self._live = self._stored

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial that is over, in order."""
        return self._stored.get_trials(deepcopy=False)

    @property
    def exhausted(self) -> bool:
        """Whether every recipe of the space was tried."""
        return self._space.size is not None and len(self._tried()) >= self._space.size

    def ask(self) -> Trial:
        """The next recipe: first the given one, as far as it lies in the space, then others."""
        before, tried = self.trials, self._tried()
        for again in range(ANEW):
            self._begin(before, again)
            if not before:
                self._live.enqueue_trial(self._space.given())
            trial = self._live.ask(dict(self._space.distributions))
            if self._space.key(trial.params) not in tried:
                return self._among_its_like(trial)
        self._begin(before, ANEW)
        if self._space.size is not None:  # few are left, which a sampler may never come upon
            self._live.enqueue_trial(next(p for p in self._space.points() if self._space.key(p) not in tried))
        return self._among_its_like(self._live.ask(dict(self._space.distributions)))

    def _among_its_like(self, trial: Trial) -> Trial:
        """The same trial, where those that began with the other kind of head have no say in whether it goes on: a head
        that was trained before is ahead of a fresh one in the first epochs, whatever becomes of the two."""
        if HEAD not in trial.params:
            return trial
        before = [copy.copy(one) for one in self.trials]
        for one in before:
            if one.params[HEAD] != trial.params[HEAD]:
                one.system_attrs = {}  # where the pruner keeps what it compares
        self._begin(before, ANEW)
        self._live.enqueue_trial(trial.params)
        return self._live.ask(dict(self._space.distributions))

    def _begin(self, before: list[FrozenTrial], again: int) -> None:
        """A study in memory that knows what is over."""
        self._live = optuna.create_study(
            study_name=NAME,  # Hyperband deals its brackets out by it
            direction=self._direction,
            sampler=self._sampler(len(before), again),
            pruner=self._pruner(),
        )
        self._live.add_trials(before)

    def hopeless(self, trial: Trial, epoch: int, value: float) -> bool:
        """Tell of an epoch of a trial, 1 after the first; whether it need not go on."""
        trial.report(value, epoch)
        return self._search.pruner != "none" and trial.should_prune()

    def tell(self, trial: Trial, value: float | None, pruned: bool, attributes: Mapping[str, Any]) -> None:
        """A trial is over: complete, stopped, or failed where it has no value. Stores it."""
        for name, own in attributes.items():
            trial.set_user_attr(name, own)
        if value is None:
            self._live.tell(trial, state=TrialState.FAIL)
        elif pruned:
            self._live.tell(trial, state=TrialState.PRUNED)
        else:
            self._live.tell(trial, value)
        self._stored.add_trial(self._live.get_trials(deepcopy=False)[trial.number])

    def _tried(self) -> set[str]:
        return {self._space.key(t.params) for t in self.trials}

    def _sampler(self, number: int, again: int) -> optuna.samplers.BaseSampler:
        seed = (self._search.seed + 1_000_003 * number + 7_919 * again) % 2**31
        return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)

    def _pruner(self) -> BasePruner:
        epochs = self._space.base.training.epochs
        least = max(1, round(epochs / 9))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self._search.pruner == "hyperband":
                return optuna.pruners.HyperbandPruner(least, epochs, reduction_factor=3)
            if self._search.pruner == "asha":
                return optuna.pruners.SuccessiveHalvingPruner(least, reduction_factor=3)
            return optuna.pruners.NopPruner()
