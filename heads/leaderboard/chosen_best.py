"""The best run's figures corrected for having been chosen: its epochs and itself are chosen again on other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from featcache.statistics import Contender, Corrected, Scores, correct_for_selection
from heads.leaderboard.compared_run import ComparedRun
from heads.leaderboard.run_comparison import RunComparison
from heads.runs import ValOutcomes, val_outcomes_of

MOST = 100  # runs that the best is chosen among again: those with the largest figures, others are no match
SHOWN = ("top1", "top3")


def correct_best(ordered: Sequence[ComparedRun], comparison: RunComparison) -> dict[str, Corrected]:
    """Top-1 and top-3 of the first of some runs, corrected; empty where there are no images to choose again by.

    Runs that the first metric of the ranking tells from the best are no match for it; among the others the best is
    chosen by the next one, which is top-1 unless the ranking is by another metric. Epochs and recipes are chosen again
    by the metric that they were chosen by.
    """
    by = comparison.order[-1]
    if not ordered or ordered[0].predictions is None or len(set(ordered[0].scores(by).units)) < 2:
        return {}
    match = [one for one in ordered if comparison.same(one, ordered[0], comparison.order[0])][:MOST]
    match = [one for one in match if one.predictions is not None]
    metrics = list(dict.fromkeys([by, *SHOWN]))
    found = correct_for_selection([_contender(one, by, metrics) for one in match], 0, metrics)
    return {metric: replace(one, found=ordered[0].scores(metric).mean) for metric, one in found.items()}


def _contender(one: ComparedRun, by: str, metrics: Sequence[str]) -> Contender:
    kept = {metric: one.scores(metric) for metric in metrics}
    second = one.scores("loss").values.mean(axis=0)
    outcomes = val_outcomes_of(one.run.folder)
    seen = one.predictions
    if outcomes is None or seen is None or outcomes.images != seen.images:
        return Contender.of_kept(kept[by], second, {m: kept[m].values for m in metrics[1:]})
    return contender(outcomes, str(one.run.summary["selection_metric"]), kept[by], second, by)


def contender(outcomes: ValOutcomes, selection: str, kept: Scores, second: np.ndarray, by: str = "top1") -> Contender:
    """A run whose heads were chosen by `selection`, such as `val_top1`, as it is chosen again by `by`.

    Another metric than top-1 and top-3 is known of every epoch where it chose them. Where it did not, the run is
    compared with others by that of the epochs it kept; its epochs and its recipe are chosen again all the same.

    Ties between epochs go to the first one. In training they go by the loss; but that is known as a mean over all
    images, those held out among them: it would tell the choice which epoch has them right, and the corrected figure of
    a run of 50 epochs on 108 images would read 0.01 too high.
    """
    every = {"top1": outcomes.top1, "top3": outcomes.top3}
    chosen_by = {"val_top1": outcomes.top1, "val_top3": _top3_then_top1(outcomes)}.get(selection, outcomes.selected)
    last = outcomes.loss.shape[-1]
    own = outcomes.selected if selection == f"val_{by}" else None
    of_kept = np.broadcast_to(kept.values[None, :, None], outcomes.top1.shape)
    return Contender(
        every.get(by, of_kept if own is None else own),
        kept,
        outcomes.fold,
        np.arange(last) < outcomes.epochs[..., None],
        second,
        chosen_by,
        every,
    )


def _top3_then_top1(outcomes: ValOutcomes) -> np.ndarray:
    """What epochs are chosen by where it is top-3: a tie goes by top-1, which counts less than one outcome of top-3."""
    more = min(len(outcomes.images) + 1, 4095)  # so that sums in float32 are whole
    return outcomes.top3 * np.int16(more) + outcomes.top1
