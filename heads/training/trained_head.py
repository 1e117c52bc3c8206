"""One head after training: its curve by epoch, which epoch is best, when patience ends it, its best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from featcache.options import Normalise, TrainingOptions
from heads.training.epoch_outcomes import EpochOutcomes
from heads.training.metrics import find_metric

START = -1  # the epoch of a network as it was before any training, where that takes part in the choice
TOLD = 12  # digits of a metric of a whole split that tell two epochs apart


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one head; accuracies are fractions, the training figures those seen while training."""

    epoch: int  # counted from 0; START: as it was before training
    train_loss: float  # at the start NaN, as train_top1
    train_top1: float
    val_loss: float
    val_top1: float
    val_top3: float
    learning_rate: float  # of the head
    seconds: float  # of this epoch of all heads that are trained side by side
    blocks: str = "head"  # what trained, in order, separated by spaces
    rates: str = ""  # their learning rates
    more: dict[str, float] = field(default_factory=dict)  # further metrics on val, by name

    @property
    def said(self) -> str:
        """Which epoch it is, as a best one."""
        return best_epoch_said(self.epoch)

    def val(self, metric: str) -> float:
        """A metric on val, by its name."""
        return self.more[metric] if metric in self.more else float(getattr(self, f"val_{metric}"))


def epoch_row(
    epoch: int,
    train: tuple[float, float],
    val: Mapping[str, float],
    rate: float,
    seconds: float,
    *,
    blocks: str = "head",
    rates: str = "",
) -> EpochRow:
    """The row of an epoch from loss and top-1 while training, and every metric on val by its name."""
    more = {name: value for name, value in val.items() if f"val_{name}" not in EpochRow.__dataclass_fields__}
    return EpochRow(epoch, *train, val["loss"], val["top1"], val["top3"], rate, seconds, blocks, rates, more)


@dataclass
class TrainedHead:
    """One head after training: its best epoch's weights, for features as they are stored, and its curve."""

    seed: int
    fold: int = 0
    best_epoch: int = -1
    state: dict[str, Tensor] = field(default_factory=dict)
    curve: list[EpochRow] = field(default_factory=list)
    diverged: int | None = None  # the epoch whose loss was not finite, after which it was left alone
    outcomes: EpochOutcomes | None = None  # image by image and epoch by epoch on val, where they were asked for
    normalise: Normalise = "none"  # l2 and layernorm come before its weights; standard and scale are in them

    @property
    def best(self) -> EpochRow:
        """The epoch that was best on val."""
        return self.curve[self.best_place]

    @property
    def best_place(self) -> int:
        """The place in the curve of the epoch that was best on val."""
        return self.best_epoch - (self.curve[0].epoch if self.curve else 0)

    @property
    def trained(self) -> list[EpochRow]:
        """The curve without the start."""
        return [row for row in self.curve if row.epoch != START]

    def note(self, row: EpochRow, metric: str) -> bool:
        """Add an epoch to the curve; whether it is the best so far."""
        known = bool(self.curve) and self.best_epoch >= self.curve[0].epoch
        self.curve.append(row)
        trained_well = row.epoch == START or math.isfinite(row.train_loss)
        if not (trained_well and math.isfinite(row.val_loss)):
            self.diverged = row.epoch
            return False
        if known and score(row, metric) <= score(self.best, metric):
            return False
        self.best_epoch = row.epoch
        return True

    def over(self, training: TrainingOptions, since: int = 0) -> bool:
        """Whether it has diverged, or has had its epochs or its patience, which counts from the epoch `since` on."""
        epoch = self.curve[-1].epoch
        impatient = training.patience is not None and epoch - max(self.best_epoch, since) >= training.patience
        return self.diverged is not None or impatient or epoch + 1 >= training.epochs


def best_epoch_said(epoch: int) -> str:
    """`best epoch 12`, or that none was better than the start."""
    return "no epoch better than the start" if epoch == START else f"best epoch {epoch}"


def score(row: EpochRow, metric: str) -> tuple[float, float, float]:
    """Larger is better; ties of the metric go to top-1 and then to the lower loss, equal ones to the earlier epoch."""
    one = find_metric(metric)
    # A mean over classes may differ in its last digit where it is the same: rounding is not to choose.
    value = round(row.val(one.name), TOLD) if one.whole else row.val(one.name)
    return value if one.larger_is_better else -value, row.val_top1, -row.val_loss
