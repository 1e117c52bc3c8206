"""What trains a network epoch by epoch, whoever chooses among its epochs; what it says where a loss is not finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from featcache.errors import NonFiniteError
from heads.finetune.run_setup import RunSetup


@dataclass(frozen=True)
class Passed:
    """What an epoch came to: mean loss and top-1 as seen in training, and logits on val `[n, C]`, on the device."""

    train: tuple[float, float]
    logits: Tensor


class NetworkTraining(Protocol):
    """A training that goes on by an epoch when it is told to."""

    def prepare(self, epoch: int) -> bool:
        """Be ready to train in an epoch; whether what trains is other than before."""

    def start(self) -> Passed:
        """What the weights give as they are, before any training; training figures are NaN."""

    def epoch(self, epoch: int) -> Passed:
        """Train for an epoch."""

    def judged(self) -> dict[str, Tensor]:
        """A copy of the weights that the last epoch was judged by, of what trains."""

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain types and tensors."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


def not_finite(setup: RunSetup, seed: int, epoch: int, where: str) -> NonFiniteError:
    """What is said where a loss is not finite."""
    kept = f" The last good checkpoint, of epoch {epoch - 1}, is kept." if epoch > 0 else ""
    when = f"in epoch {epoch}" if epoch >= 0 else "before training"
    return NonFiniteError(
        f"{setup.options.experiment_name}: the loss of seed {seed} is not finite {when}, {where}."
        f"{kept} Lower training.learning_rate (now {setup.training.learning_rate:g}) or lr_scale of the "
        "schedule, set training.clip_norm, or train in float32 or bfloat16 where training.precision is float16."
    )
