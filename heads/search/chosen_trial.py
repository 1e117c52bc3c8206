"""What the best trial owes to having been chosen: its figures corrected, and the trials that may be the best as well.

The best of 200 trials reads high: each has luck of its own on so many images, and the best is partly the luckiest. So
the whole choice, of each head's epoch and of the trial, is made again without a tenth of the images, and judged on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from featcache.statistics import Contender, Corrected, JointComparison, Scores, correct_for_selection
from heads.leaderboard import contender, judged, with_answers
from heads.search.objectives import OBJECTIVES
from heads.search.study import SAME_AS
from heads.search.trial_outcomes import Lost, TrialOutcomes, at_best_epochs
from heads.training import PARTS, find_metric

MOST = 200  # trials that the best is chosen among again, those with the best values: the others are no match for it

# What an objective compares, in this order; one of a whole split compares that. Others are costs, which no image makes
# larger or smaller.
_COMPARED = {"val_top1": ("top1",), "val_top3": ("top3", "top1"), "val_loss": ("loss",)}
_SHOWN = ("top1", "top3")
OF_ANOTHER = Lost("in a file of outcomes/ that is another trial's")

Read = Callable[[int], TrialOutcomes | Lost]  # a trial's number in, its outcomes out where they were kept


@dataclass(frozen=True)
class NotCompared:
    """A completed trial whose outcomes are not to be had."""

    number: int
    reason: str  # goes on from "what it gave on each image is"


@dataclass(frozen=True)
class ChosenTrial:
    """What is known of the best of some completed trials."""

    among: int  # completed trials
    best: int | None = None  # the trial's number; None where several objectives have no single best
    compared: int = 0  # of them, again
    epochs: int = 0  # that were chosen again, of each head of the best
    figures: dict[str, Corrected] = field(default_factory=dict)  # by metric, that of the objective first; loss negated
    may_be_best: tuple[int, ...] = ()  # numbers of the trials that it is among at 95%
    missing: tuple[NotCompared, ...] = ()  # of those with the best values
    shortened: int = 0  # of those compared, trials whose epochs are too many to be chosen again
    reason: str = ""  # why nothing could be corrected
    each: dict[str, ChosenTrial] = field(default_factory=dict)  # of several objectives: the best in each, costs aside

    @property
    def by_images(self) -> bool:
        """Whether the trial was chosen by what it gave on images, so that luck was in it."""
        return bool(self.may_be_best)


@dataclass(frozen=True, eq=False)
class _Known:
    """A trial whose outcomes are known."""

    number: int
    outcomes: TrialOutcomes


def compared_in(objective: str) -> tuple[str, ...]:
    """The metrics that an objective compares trials in, the first one first; none of a cost."""
    whole = OBJECTIVES[objective].whole
    return (whole,) if whole is not None else _COMPARED.get(objective, ())


def judge_best(objectives: Sequence[str], trials: Sequence[FrozenTrial], best: FrozenTrial, read: Read) -> ChosenTrial:
    """The figures of the `best` of some trials, corrected for having been chosen; `read` gives the outcomes of each.
    What was asked for again at a point that was known is no further trial.

    A Pareto front has no single best, so with several objectives it is the best trial in each, among all trials.
    """
    complete = [t for t in trials if t.state == TrialState.COMPLETE and SAME_AS not in t.user_attrs]
    if len(objectives) == 1:
        return _judge(objectives[0], 0, complete, best, read)
    each = {}
    for place, objective in enumerate(objectives):
        if compared_in(objective):
            pick = max if OBJECTIVES[objective].maximise else min
            own = pick(complete, key=lambda t: t.values[place])
            each[objective] = _judge(objective, place, complete, own, read)
    return ChosenTrial(len(complete), each=each, reason="" if each else "costs owe nothing to the luck of images")


def _judge(objective: str, place: int, complete: Sequence[FrozenTrial], best: FrozenTrial, read: Read) -> ChosenTrial:
    """The best of trials in the objective in this place of their values."""
    order = compared_in(objective)
    leading = _leading(complete, place, OBJECTIVES[objective].maximise) if order else [best]
    found = {t.number: _checked(read(t.number), t, order) for t in leading}
    # Ties go to the earlier trial, as the study has it; the correction gives them to the last of those it is given.
    known = [_Known(n, o) for n, o in reversed(found.items()) if isinstance(o, TrialOutcomes)]
    missing = tuple(NotCompared(n, o.reason) for n, o in found.items() if isinstance(o, Lost))
    if isinstance(lost := found[best.number], Lost):
        reason = f"what trial {best.number} gave on each image is {lost.reason}"
        return ChosenTrial(len(complete), best.number, missing=missing, reason=reason)
    metrics = list(dict.fromkeys([*order[:1], *_SHOWN]))
    may = _may_be_best([one.outcomes for one in known], order)
    # The others are no match for the best, and may be nothing like it: an interval must not follow from their spread.
    match = [one for one, may_be in zip(known, may, strict=True) if may_be or one.number == best.number]
    made = _contenders([one.outcomes for one in match], order, metrics)
    corrected = correct_for_selection(made, [one.number for one in match].index(best.number), metrics)
    own = next(one.outcomes for one in match if one.number == best.number)
    return ChosenTrial(
        among=len(complete),
        best=best.number,
        compared=len(known),
        epochs=_epochs(own, order),
        figures={metric: judged(one, own.kept(metric)) for metric, one in corrected.items()},
        may_be_best=tuple(sorted(one.number for one in match)) if order else (),
        missing=missing,
        shortened=sum(not one.outcomes.complete for one in known),
    )


def _leading(trials: Sequence[FrozenTrial], place: int, larger: bool) -> list[FrozenTrial]:
    """The trials with the best values, in their order."""
    ranked = sorted(trials, key=lambda t: -t.values[place] if larger else t.values[place])[:MOST]
    return sorted(ranked, key=lambda t: t.number)


def _checked(outcomes: TrialOutcomes | Lost, trial: FrozenTrial, order: Sequence[str]) -> TrialOutcomes | Lost:
    """The outcomes where they are those of this trial (a file may be left from another of its number) and have what is
    compared."""
    if isinstance(outcomes, Lost):
        return outcomes
    if abs(outcomes.kept("top1").mean - float(trial.user_attrs["val_top1"])) >= 1e-6:
        return OF_ANOTHER
    chosen_by = find_metric(outcomes.selection).name
    of_parts = [chosen_by] if chosen_by in PARTS and not outcomes.images.labels else []
    for metric in (*of_parts, *order):
        if metric in of_parts or not outcomes.knows(metric):
            part = f"its part of {find_metric(metric).title}"
            return Lost(f"kept without {part} (by an earlier version of featcache; --fresh trains it again)")
    return outcomes


def _may_be_best(outcomes: Sequence[TrialOutcomes], order: Sequence[str]) -> NDArray[np.bool_]:
    """Which trials may be the best, on other images and with these seeds: all trials share them, and so does the run
    that the best one becomes. So their luck is none here; that of a trial that hardly learns would drown the others."""
    if not order:
        return np.ones(len(outcomes), np.bool_)
    return JointComparison({metric: [_mean(o.kept(metric)) for o in outcomes] for metric in order}).may_be_best(order)


def _epochs(of: TrialOutcomes, order: Sequence[str]) -> int:
    """How many epochs of each head are chosen again."""
    return 1 if order[:1] == ("loss",) and of.selection != "val_loss" else int(of.every.top1.shape[2])


def _mean(scores: Scores) -> Scores:
    return replace(scores, values=scores.values.mean(axis=0, keepdims=True))


def _contenders(outcomes: Sequence[TrialOutcomes], order: Sequence[str], metrics: Sequence[str]) -> list[Contender]:
    # A tie in top-3 goes by top-1 and then by the loss, which must count less than one outcome of top-1.
    outcome = 1 / max(o.loss.size for o in outcomes)
    small = 0.5 * outcome / (1 + max(float(o.loss.mean()) for o in outcomes))
    return [
        replace(_contender(o, order, metrics, small), labels=o.images.classes if o.images.labels else None)
        for o in outcomes
    ]


def _contender(of: TrialOutcomes, order: Sequence[str], metrics: Sequence[str], small: float) -> Contender:
    """A trial as it is chosen again by the first of `metrics`; by the loss only of the best epochs, unless these were
    chosen by it too: of other epochs nobody kept it."""
    by, kept = metrics[0], of.kept(metrics[0])
    loss = -of.loss.astype(np.float64).mean(axis=0)
    if by != "loss":
        tops = of.kept("top1").values.mean(axis=0) if tuple(order) == _COMPARED["val_top3"] else 0.0
        made = contender(of.every, of.selection, kept, tops + small * loss, by)
        return with_answers(made, of.every, by, of.images.classes)
    every = of.every if of.selection == "val_loss" else at_best_epochs(of.every)
    values = kept.values[None, :, None] if of.selection != "val_loss" else every.selected
    assert values is not None
    one = contender(every, "val_top1", of.kept("top1"), loss)
    return replace(one, values=values, kept=kept, chosen_by=values)
