"""The unfreeze schedule in numbers: which blocks train in an epoch, and at which learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcache.backbones import first_trained_by_step
from featcache.errors import OptionsError
from featcache.options import Options, TrainingOptions
from heads.training import rate_factor

HEAD = "head"  # what metrics.csv calls it


@dataclass(frozen=True)
class Stage:
    """Some epochs, from `epoch` on, in which the same blocks train."""

    epoch: int
    first: int  # of the blocks that train; as many as there are blocks: the head alone
    lr_scale: float


@dataclass(frozen=True)
class Schedule:
    """What every epoch of a training does. Blocks are counted from the stem; the head always trains."""

    training: TrainingOptions
    blocks: tuple[str, ...]
    stages: tuple[Stage, ...]  # the first one at epoch 0

    def stage(self, epoch: int) -> Stage:
        """The stage that an epoch is part of."""
        return [s for s in self.stages if s.epoch <= epoch][-1]

    def rates(self, epoch: int) -> list[float]:
        """The learning rate of each block and, last, of the head; of frozen blocks too, which make no use of it."""
        training = self.training
        head = training.learning_rate * self.stage(epoch).lr_scale * rate_factor(training, epoch)
        count = len(self.blocks)
        return [head * training.lr_decay_per_block ** (count - b) for b in range(count + 1)]

    def training_now(self, epoch: int) -> tuple[list[str], list[float]]:
        """Names of what trains in an epoch, the head last, and its learning rates."""
        first = self.stage(epoch).first
        return [*self.blocks[first:], HEAD], self.rates(epoch)[first:]

    def lines(self) -> list[str]:
        """What trains from which epoch on, for people."""
        found = []
        for stage in self.stages:
            if self.stage(stage.epoch) is stage:  # of two at one epoch the later one counts
                rate = self.training.learning_rate * stage.lr_scale
                what = ", ".join([*self.blocks[stage.first :], HEAD])
                found.append(f"from epoch {stage.epoch} on {what} at a learning rate of {rate:g}")
        return found


def require_schedule(options: Options) -> None:
    """Raise OptionsError where nothing would be unfrozen."""
    if options.training.unfreeze_schedule is None:
        raise OptionsError(
            "training.unfreeze_schedule is null, so nothing would be fine-tuned. Give one, such as that of "
            "configs/phase2.json, or train heads with `featcache train`."
        )


def make_schedule(training: TrainingOptions, blocks: Sequence[str], backbone: str) -> Schedule:
    """The schedule of `training` for a backbone with these blocks, stem first.

    Raises OptionsError for a block that it has not, and for steps that freeze what trained before.
    """
    steps = training.unfreeze_schedule or ()
    places = first_trained_by_step(steps, blocks, backbone)
    stages = [Stage(step.epoch, first, step.lr_scale) for step, first in zip(steps, places, strict=True)]
    stages.insert(0, Stage(0, len(blocks), 1.0))
    return Schedule(training, tuple(blocks), tuple(stages))  # of two at one epoch the later one counts
