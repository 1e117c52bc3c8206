"""The best run's figures corrected for having been chosen: its epochs and itself are chosen again on other images."""

from __future__ import annotations

from collections.abc import Sequence

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
    chosen by the next one, which is top-1 unless the ranking is by another metric.
    """
    if not ordered or ordered[0].predictions is None or len(set(ordered[0].predictions.units)) < 2:
        return {}
    by = comparison.order[-1]
    match = [one for one in ordered if comparison.same(one, ordered[0], comparison.order[0])][:MOST]
    match = [one for one in match if one.predictions is not None]
    metrics = list(dict.fromkeys([by, *SHOWN]))
    return correct_for_selection([_contender(one, by, metrics) for one in match], 0, metrics)


def _contender(one: ComparedRun, by: str, metrics: Sequence[str]) -> Contender:
    kept = {metric: one.scores(metric) for metric in metrics}
    second = one.scores("loss").values.mean(axis=0)
    outcomes = val_outcomes_of(one.run.folder)
    seen = one.predictions
    if outcomes is None or seen is None or outcomes.images != seen.images or by not in SHOWN:
        return Contender.of_kept(kept[by], second, {m: kept[m].values for m in metrics[1:]})
    return contender(outcomes, str(one.run.summary["selection_metric"]), kept[by], second, by)


def contender(outcomes: ValOutcomes, selection: str, kept: Scores, second: np.ndarray, by: str = "top1") -> Contender:
    """A run whose heads were chosen by `selection`, such as `val_top1`, as it is chosen again by top-1 or top-3."""
    every = {"top1": outcomes.top1, "top3": outcomes.top3}
    metric = selection.removeprefix("val_")
    chosen_by = every.get(metric, outcomes.selected)
    last = outcomes.loss.shape[-1]
    return Contender(
        every[by],
        kept,
        outcomes.fold,
        np.arange(last) < outcomes.epochs[..., None],
        -outcomes.loss,
        second,
        chosen_by,
        every,
    )
