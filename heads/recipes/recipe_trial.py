"""One recipe tried: what it came to, and what the choice among recipes goes by."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from optuna.trial import FrozenTrial, Trial, TrialState

from featcache.errors import FeatcacheError
from heads.finetune import RecipeTrials, TriedRecipe
from heads.recipes.recipe_space import RecipeSpace
from heads.recipes.recipe_study import RecipeStudy
from heads.runs import outcomes_of_heads
from heads.search import OBJECTIVES, OutcomeFiles, TrialOutcomes, ValImages
from heads.training import PARTS, START, EpochRow, TrainedHead, find_metric


def value_of(row: EpochRow, metric: str, images: int) -> float:
    """What recipes are compared by: the metric, where images are few a staircase, and between its steps the loss."""
    if find_metric(metric).name == "loss":
        return row.val_loss
    return row.val(find_metric(metric).name) + 1 / (1 + row.val_loss) / images


@dataclass
class RecipeLoop:
    """Tries recipe after recipe."""

    space: RecipeSpace
    study: RecipeStudy
    trials: RecipeTrials
    outcomes: OutcomeFiles
    deadline_s: float | None  # seconds of trials, in all
    spent_s: float = field(default=0.0)

    @property
    def metric(self) -> str:
        """What chooses."""
        return self.space.base.training.selection_metric

    def over(self, wanted: int) -> bool:
        """Whether there are enough trials, no time for more, or no recipe that was not tried."""
        late = self.deadline_s is not None and self.spent_s >= self.deadline_s
        return len(self.study.trials) >= wanted or late or self.study.exhausted

    def step(self) -> FrozenTrial:
        """Ask for a recipe, train it, tell what came of it."""
        trial, began = self.study.ask(), time.perf_counter()

        def watch(head: TrainedHead) -> bool:
            late = self.deadline_s is not None and self.spent_s + time.perf_counter() - began >= self.deadline_s
            return self._hopeless(trial, head) or late

        try:
            options, warm = self.space.recipe(trial.params)
            tried = self.trials.train(options, warm, watch)
        except FeatcacheError as error:
            self.study.tell(trial, None, False, {"reason": str(error), "seconds": time.perf_counter() - began})
        else:
            self._tell(trial, tried, time.perf_counter() - began)
        self.spent_s += time.perf_counter() - began
        return self.study.trials[-1]

    def _hopeless(self, trial: Trial, head: TrainedHead) -> bool:
        epoch = head.curve[-1].epoch
        if epoch == START or epoch + 1 >= self.space.base.training.epochs:
            return False
        assert head.outcomes is not None
        return self.study.hopeless(trial, epoch + 1, value_of(head.best, self.metric, head.outcomes.images))

    def _tell(self, trial: Trial, tried: TriedRecipe, seconds: float) -> None:
        best, images = tried.head.best, len(tried.images)
        self.outcomes.keep(trial.number, outcomes_of(tried, self.metric))  # first: what is told has them
        attributes = {
            "value": value_of(best, self.metric, images),
            **{
                f"val_{name}": best.val(name) for name in dict.fromkeys(("top1", "loss", find_metric(self.metric).name))
            },
            "best_epoch": best.epoch,
            "epochs": len(tried.head.trained),
            "seconds": seconds,
        }
        self.study.tell(trial, attributes["value"], tried.stopped, attributes)


def outcomes_of(tried: TriedRecipe, metric: str) -> TrialOutcomes:
    """What a recipe gave on each image in each epoch, as the choice among trials of a sweep is judged by."""
    head, images = tried.head, ValImages.of(tried.images)
    assert head.outcomes is not None
    every = outcomes_of_heads([[[head]]], images.names, [np.arange(len(images.names))])
    name, whole = find_metric(metric).name, {}
    if name in PARTS:
        labels = torch.tensor(images.labels)
        whole[name] = PARTS[name](tried.logits.float(), labels).float().numpy()[None]
    return TrialOutcomes(images, every, head.outcomes.loss[None], metric, len(head.curve), whole)


def candidates(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The recipes that the best is chosen among: those that were stopped too, by their best epoch until then."""
    found = []
    for one in trials:
        if "value" not in one.user_attrs:
            continue
        made = FrozenTrial(
            number=one.number,
            trial_id=one.number,
            state=TrialState.COMPLETE,
            value=one.user_attrs["value"],
            datetime_start=one.datetime_start,
            datetime_complete=one.datetime_complete,
            params=one.params,
            distributions=one.distributions,
            user_attrs=one.user_attrs,
            system_attrs={},
            intermediate_values={},
        )
        found.append(made)
    return found


def best_of(found: list[FrozenTrial], metric: str) -> FrozenTrial:
    """The best recipe, of equal ones the first."""
    sign = 1.0 if OBJECTIVES[metric].maximise else -1.0
    return max(found, key=lambda one: (sign * float(one.user_attrs["value"]), -one.number))
