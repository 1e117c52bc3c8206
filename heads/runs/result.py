"""What the heads of a run came to: outcomes on val and test, and which head is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.options import Options
from featcache.records import Split
from featcache.separability import Separation
from heads.runs.predictions import Predictions
from heads.runs.val_outcomes import ValOutcomes
from heads.training import ImageOutcomes, TrainedHead, find_metric, outcome, score


@dataclass(frozen=True)
class Result:
    """What a run's heads came to; what they were trained with, where that was the whole network."""

    seeds: list[list[TrainedHead]]  # [seed][fold]
    predictions: dict[Split, Predictions]
    outcomes: dict[Split, list[ImageOutcomes]]  # val: of each seed, out of fold; test: of each head
    best: int  # the seed that is best on val
    chosen: int  # of its heads the one that is kept: the fold that is best on its own val images
    seconds: float
    network: dict[str, Tensor] | None = None  # end to end: the backbone's weights that belong to the head that is kept
    from_run: str | None = None  # the run of heads on cached features that this one began from
    from_inputs: str | None = None  # a digest of what decided that run's result
    stages: list[dict[str, Any]] = field(default_factory=list)  # end to end: what trained from which epoch on
    features_rms: float | None = None  # of heads on cached features: root mean square of these
    val_outcomes: ValOutcomes | None = None  # of heads on cached features: who was right on val after every epoch
    tuned: dict[str, Any] | None = None  # where its recipe was found among several: what was tried
    separation: Separation | None = None  # of heads on cached features: how separable these are
    of_folds: list[dict[str, Any]] = field(default_factory=list)  # of each seed, end to end with folds: what is kept
    distillation: dict[str, Any] | None = None  # of a student: its teacher, and what it was taught with
    soup: dict[str, Any] | None = None  # of a weight average of fine-tuned runs: which, and how they were chosen

    @property
    def head(self) -> TrainedHead:
        """The head that is kept."""
        return self.seeds[self.best][self.chosen]

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the head that is kept; None of a weight average, which was trained in none."""
        return None if self.soup is not None else self.head.best_epoch

    def predicted(self, split: Split) -> NDArray[np.int64]:
        """Classes by the best seed; on test by the head that is kept."""
        place = self.best if split == "val" else self.best * len(self.seeds[0]) + self.chosen
        return self.outcomes[split][place].predicted


def make_result(
    options: Options, seeds: list[list[TrainedHead]], predictions: dict[Split, Predictions], seconds: float
) -> Result:
    """The figures of heads `[seed][fold]` whose logits on val and test are `predictions`, and which one is kept."""
    outcomes = {
        split: [outcome(torch.from_numpy(one), torch.from_numpy(seen.labels)) for one in seen.logits]
        for split, seen in predictions.items()
    }
    metric = options.training.selection_metric
    best = _best(outcomes["val"], metric)
    chosen = max(range(len(seeds[best])), key=lambda f: score(seeds[best][f].best, metric))
    return Result(seeds, predictions, outcomes, best, chosen, seconds)


def _best(val: Sequence[ImageOutcomes], metric: str) -> int:
    """The seed to keep, chosen on val like its epoch was."""
    one = find_metric(metric)

    def key(o: ImageOutcomes) -> tuple[float, float, float]:
        value = o.mean(one.name)
        return value if one.larger_is_better else -value, o.mean("top1"), -o.mean("loss")

    return max(range(len(val)), key=lambda k: key(val[k]))
