"""Whether the average of the folds' weights is better than one network trained on all images, by out-of-fold figures.

The average of the folds has no out-of-fold figure: every image was seen by all folds but one. One step below there are
honest figures. A network is trained without each pair of folds; those without fold f and one other, averaged, are
judged on fold f, which none of them saw. What that gains over each of them alone is what averaging gives; what a
network without one fold gains over one without two is what more images give. The larger gain says what to keep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from featcache.extraction import Indices
from heads.finetune.fold_average import put_average
from heads.finetune.run_setup import RunSetup
from heads.finetune.seed_trainer import Trainer
from heads.training import Fit, find_metric

log = logging.getLogger("featcache")

MakeTrainer = Callable[[RunSetup], Trainer]
FitOf = Callable[[Indices], Fit | None]  # what is fitted in front of a head that trains on these images


@dataclass(frozen=True)
class FoldComparison:
    """A metric out of fold, larger better (a loss is negative): of networks without one fold, of ones without two, and
    of averages of those."""

    metric: str
    without_one: float
    without_two: float
    averaged: float

    @property
    def average(self) -> bool:
        """Whether averaging gains more than a fold of images more."""
        return self.averaged > self.without_one

    @property
    def said(self) -> str:
        """Both gains, in words."""
        better = "the average of the folds" if self.average else "one network trained on all images"
        return (
            f"{self.metric} out of fold: {self.averaged - self.without_two:+.4f} by averaging networks without two "
            f"folds, {self.without_one - self.without_two:+.4f} by training on one fold more: {better} is kept"
        )

    def as_dict(self) -> dict[str, object]:
        """For summary.json."""
        return {**asdict(self), "said": self.said}


def compare_folds(
    folds: Sequence[RunSetup], logits: Tensor, epochs: int, make_trainer: MakeTrainer, fit_of: FitOf
) -> FoldComparison:
    """The comparison after so many epochs; `logits` `[N, C]` are those out of fold of networks without one fold."""
    labels = torch.from_numpy(folds[0].dataset.labels)
    metric = folds[0].training.selection_metric
    alone, together = torch.empty(0, logits.shape[1]), torch.empty_like(logits)
    judged: list[Tensor] = []
    pairs: dict[tuple[int, int], tuple[dict[str, Tensor], Fit | None]] = {}
    for f, g in combinations(range(len(folds)), 2):
        trainer = make_trainer(_without_both(folds[f], folds[g], fit_of))
        weights, own = _trained(trainer, epochs)
        pairs[f, g] = weights, trainer.setup.fit
        alone = torch.cat([alone, own])
        judged.append(torch.from_numpy(trainer.setup.dataset.val))
    for f, fold in enumerate(folds):
        trainer = make_trainer(fold)
        trainer.prepare(max(epochs - 1, 0))
        mine = [one for pair, one in pairs.items() if f in pair]
        put_average(trainer, [weights for weights, _ in mine], [fit for _, fit in mine])
        together[torch.from_numpy(fold.dataset.val)] = trainer.start().logits.cpu()
    found = FoldComparison(
        metric,
        _goodness(metric, logits, labels),
        _goodness(metric, alone, labels[torch.cat(judged)]),
        _goodness(metric, together, labels),
    )
    log.info("%s", found.said)
    return found


def _without_both(one: RunSetup, other: RunSetup, fit_of: FitOf) -> RunSetup:
    """Both folds judge."""
    train: Indices = np.intersect1d(one.dataset.train, other.dataset.train)
    val: Indices = np.concatenate([one.dataset.val, other.dataset.val])
    return replace(one, dataset=replace(one.dataset, train=train, val=val), fit=fit_of(train))


def _trained(trainer: Trainer, epochs: int) -> tuple[dict[str, Tensor], Tensor]:
    passed = None
    for epoch in range(epochs):
        trainer.prepare(epoch)
        passed = trainer.epoch(epoch)
    if passed is None:
        trainer.prepare(0)
        passed = trainer.start()
    return trainer.judged(), passed.logits.cpu()


def _goodness(selection: str, logits: Tensor, labels: Tensor) -> float:
    metric = find_metric(selection)
    value = float(metric.values(logits, labels).double().mean())
    return value if metric.larger_is_better else -value
