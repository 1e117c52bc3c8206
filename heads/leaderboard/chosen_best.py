"""The best run's figures corrected for having been chosen: its epochs and itself are chosen again on other images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from featcache.counted_nouns import counted
from featcache.statistics import Answers, Contender, Corrected, Scores, correct_for_selection
from heads.leaderboard.compared_run import ComparedRun
from heads.leaderboard.constant_answer import says_nothing
from heads.leaderboard.run_comparison import RunComparison
from heads.runs import PARTS_VERSION, OtherRunError, ValOutcomes, checked_outcomes
from heads.training import ANSWERED, PARTS, find_metric, no_narrower

log = logging.getLogger("featcache")

MOST = 100  # runs that the best is chosen among again: those with the largest figures, others are no match
SHOWN = ("top1", "top3")
OF_EVERY_EPOCH = (*SHOWN, "balanced_accuracy")  # what follows from which images were right
NO_MATCH = -1e6  # what breaks ties, of a head whose loss is not finite


@dataclass(frozen=True)
class Correction:
    """What the first of some runs owes to having been chosen, and for which choices that could be said."""

    figures: Mapping[str, Corrected] = field(default_factory=dict)  # by metric; larger better, so a loss is negative
    by: str = "top1"  # the metric that the run is chosen again by
    told_by: str = "top3"  # the one that tells the runs from it that are no match
    runs: int = 0  # that there are
    matched: int = 0  # of them, those that are not told from it
    first: str = ""  # the name of the first
    # By name, those whose epochs and recipes could not be chosen again, and those whose answers are not known; with it
    # what the file of each is: missing, damaged, of another run.
    lacking: Mapping[str, str] = field(default_factory=dict)
    unseen: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False  # whether the first is one of those, so that of all runs the choice of the run alone is made
    epochs_by: bool = True  # whether `by` is known of every epoch, and not only of those that were kept
    reason: str = ""  # why nothing could be corrected

    @property
    def shown(self) -> Mapping[str, Corrected]:
        """Those that can stand on a board without a word of which choices they are corrected for."""
        return {metric: one for metric, one in self.figures.items() if self.epochs_by or metric != self.by}


def correct_best(ordered: Sequence[ComparedRun], comparison: RunComparison) -> Correction:
    """The first of some runs in the metric of the ranking, top-1 and top-3, corrected.

    Runs that the first metric of the ranking tells from the best are no match for it; among the others the best is
    chosen by the next one, which is top-1 unless the ranking is by another metric. Epochs and recipes are chosen again
    by the metric that they were chosen by; where that cannot be done of the first, it is done of none: figures that
    have seen the images held out would stand beside others that have not.
    """
    by, told_by = comparison.order[-1], comparison.order[0]
    if not ordered:
        return Correction()
    first = ordered[0]
    same = [one for one in ordered if comparison.same(one, first, told_by)]
    unseen = {one.name: one.unseen for one in ordered if one.unseen}
    said = Correction({}, by, told_by, len(ordered), len(same), first.name, unseen=unseen)
    if first.unseen:
        return replace(said, reason=f"its predictions.npz is {first.unseen}")
    if not first.measured(by):
        return replace(said, reason=f"its {find_metric(by).title} is not finite")
    if says_nothing(first.run.summary, "val", by):
        return replace(
            said, reason=f"its validation images are of one class, of which {find_metric(by).title} says nothing"
        )
    units = first.scores(by).units
    if len(set(units)) < 2:
        one = f"one group of {counted(len(units), 'image')}" if len(units) > 1 else "a single one"
        return replace(said, reason=f"its validation images are {one}, and it takes others to choose again by")
    match = [one for one in same[:MOST] if one.predictions is not None]
    lacking: dict[str, str] = {}
    known: Mapping[str, ValOutcomes | None] = {one.name: _outcomes(one, by, lacking) for one in match}
    alone = first.name in lacking
    metrics = list(dict.fromkeys([by, *SHOWN]))
    known = _alike({name: None if alone else found for name, found in known.items()})
    made = [_contender(one, by, metrics, known[one.name]) for one in match]
    found = correct_for_selection(made, 0, metrics)
    return replace(
        said,
        figures={
            metric: _without_search(judged(one, first.scores(metric)), metric, first) for metric, one in found.items()
        },
        lacking=lacking,
        alone=alone,
        epochs_by=by in OF_EVERY_EPOCH
        or all(one.run.summary.get("selection_metric") == f"val_{by}" for one in match)
        or (by in ANSWERED and all(found is None or found.answers is not None for found in known.values())),
    )


def judged(one: Corrected, kept: Scores) -> Corrected:
    """A corrected figure beside the one that was found, `kept`, and never with limits of no width."""
    low, high = no_narrower(one.mean, (one.low, one.high), kept)
    return replace(one, found=kept.mean, low=low, high=high)


def _without_search(one: Corrected, metric: str, first: ComparedRun) -> Corrected:
    """Less what a search of recipes found on the same images added: the recipes that it tried are no runs of the board,
    so that they are not chosen among again."""
    added = first.searched.added.get(metric) if first.searched is not None else None
    if not added:
        return one
    return replace(one, mean=one.mean - added, low=one.low - added, high=one.high - added)


def _outcomes(one: ComparedRun, by: str, lacking: dict[str, str]) -> ValOutcomes | None:
    """Those of a run, with its answers where `by` takes them, as they are a third of it; None where there are none, and
    with a warning where they are not to be believed: then `lacking` gets what the file is."""
    assert one.predictions is not None
    try:
        found = checked_outcomes(one.run.folder, one.predictions)
        found = found if by in ANSWERED else replace(found, answers=None)
        if find_metric(str(one.run.summary["selection_metric"])).name not in PARTS:
            return found
        if found.parts_version == PARTS_VERSION:
            return found
        lacking[one.name] = "of an earlier version of featcache"
    except FileNotFoundError:
        lacking[one.name] = "missing"
    except ValueError as error:
        lacking[one.name] = "of another run" if isinstance(error, OtherRunError) else "damaged"
        log.warning(
            "%s: its epochs cannot be chosen again. Train the run again (--fresh).", error, extra={"once": str(error)}
        )
    return None


def _alike(known: Mapping[str, ValOutcomes | None]) -> Mapping[str, ValOutcomes | None]:
    """The same without answers where some file, of an earlier version, has none: in a metric of them all runs are
    chosen again by those of every epoch, or all by those that were kept."""
    if all(found is None or found.answers is not None for found in known.values()):
        return known
    return {name: found and replace(found, answers=None) for name, found in known.items()}


def _contender(one: ComparedRun, by: str, metrics: Sequence[str], outcomes: ValOutcomes | None) -> Contender:
    seen = one.predictions
    assert seen is not None
    kept = {metric: one.scores(metric) for metric in metrics}
    second = np.nan_to_num(one.scores("loss").values.mean(axis=0), nan=NO_MATCH, posinf=NO_MATCH, neginf=NO_MATCH)
    taken = np.where(np.isnan(seen.logits).any(axis=-1), -1, seen.logits.argmax(axis=-1))
    if outcomes is None:
        alone = Contender.of_kept(kept[by], second, {m: kept[m].values for m in metrics[1:]})
        answers = Answers(taken[None, :, None], seen.labels, ANSWERED[by]) if by in ANSWERED else None
        return replace(alone, answers=answers, labels=seen.labels)
    made = contender(outcomes, str(one.run.summary["selection_metric"]), kept[by], second, by)
    return with_answers(replace(made, labels=seen.labels), outcomes, by, seen.labels, taken)


def contender(outcomes: ValOutcomes, selection: str, kept: Scores, second: np.ndarray, by: str = "top1") -> Contender:
    """A run whose heads were chosen by `selection`, such as `val_top1`, as it is chosen again by `by`.

    Top-1, top-3, balanced accuracy and macro-F1 (`with_answers`) are known of every epoch, another metric where it
    chose them. Where it did not, the run is compared with others by that of the epochs it kept; its epochs and recipe
    are chosen again all the same.

    Ties between epochs go to the first one. In training they go by the loss; but that is known as a mean over all
    images, those held out among them: it would tell the choice which epoch has them right, and the corrected figure of
    a run of 50 epochs on 108 images would read 0.01 too high.
    """
    every = {"top1": outcomes.top1, "top3": outcomes.top3}
    chosen_by = {"val_top1": outcomes.top1, "val_top3": _top3_then_top1(outcomes)}.get(selection, outcomes.selected)
    last = outcomes.loss.shape[-1]
    chosen_by_own = selection == f"val_{by}"
    own = outcomes.selected if chosen_by_own else None
    if by == "balanced_accuracy" and kept.strata is not None and not chosen_by_own:
        own = outcomes.top1 * _of_each_class(kept.strata)
    if own is not None and by in PARTS and outcomes.epochs.shape[2] > 1:
        # What folds have of their own images, moved to where the run's figure is, which is of all images together.
        own = own + np.float32(kept.mean - _at_kept(own, outcomes).mean())
    of_kept = np.broadcast_to(kept.values[None, :, None], outcomes.top1.shape)
    return Contender(
        every.get(by, of_kept if own is None else own),
        kept,
        outcomes.fold,
        np.arange(last) < outcomes.epochs[..., None],
        second,
        None if chosen_by_own else chosen_by,
        every,
    )


def _of_each_class(labels: np.ndarray) -> np.ndarray:
    """What an image `[N]` that is right adds to balanced accuracy, times N: as much in all for each class."""
    counts = np.bincount(labels)
    found: np.ndarray = (len(labels) / ((counts > 0).sum() * counts[labels])).astype(np.float32)
    return found


def with_answers(
    made: Contender, outcomes: ValOutcomes, by: str, labels: np.ndarray, taken: np.ndarray | None = None
) -> Contender:
    """The same, in a metric that is no sum over images, with what was answered to each; `taken` `[S, N]` where that is
    known of the epochs that were kept alone."""
    given = outcomes.answers
    if given is None and taken is not None:
        given = np.broadcast_to(taken[None, :, None], outcomes.top1.shape)
    if by not in ANSWERED or given is None:
        return made
    figure = ANSWERED[by]
    pooled = figure(_at_kept(given, outcomes), labels, np.ones_like(labels), 1).mean()
    return replace(made, answers=Answers(given, labels, figure, made.kept.mean - float(pooled)))


def _at_kept(values: np.ndarray, outcomes: ValOutcomes) -> np.ndarray:
    """Of `[T, S, E, N]` what the run kept, `[S, N]`."""
    epochs = outcomes.chosen[outcomes.best][:, outcomes.fold]
    found: np.ndarray = np.take_along_axis(values[outcomes.best], epochs[:, None], axis=1)[:, 0]
    return found


def _top3_then_top1(outcomes: ValOutcomes) -> np.ndarray:
    """What epochs are chosen by where it is top-3: a tie goes by top-1, all of which counts less than one outcome of
    top-3. Sums of these are whole, and exact (`correct_for_selection`)."""
    more = len(outcomes.images) + 1
    found: np.ndarray = outcomes.top3 * np.min_scalar_type(-more - 2).type(more) + outcomes.top1
    return found
