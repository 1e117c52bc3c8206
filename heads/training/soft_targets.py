"""What a teacher answers to the images that heads train on, and what its part of the loss is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.extraction import Indices
from featcache.options import TrainingOptions
from heads.training.head_spec import HeadSpec


@dataclass(frozen=True, eq=False)
class SoftTargets:
    """Logarithms `[R, C]` of a teacher's probabilities for each row of the features, and which images have no label
    but these `[N]`."""

    logs: NDArray[np.float32]
    only: NDArray[np.bool_]

    def weights(self, training: TrainingOptions, images: Indices) -> NDArray[np.float32]:
        """What the teacher's part of the loss counts for these images, of any shape: all, where there is no label."""
        assert training.distillation is not None
        found: NDArray[np.float32] = np.where(self.only[images], 1.0, training.distillation.weight).astype(np.float32)
        return found


def soft_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`[N]`: temperature^2 times the divergence of softened logits `[N, C]` from a teacher's softened logarithms
    `[N, C]`, in nats.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2: the square keeps
    the size of the gradients whatever the temperature.
    """
    wanted = (teacher / temperature).log_softmax(dim=-1)
    seen = (logits / temperature).log_softmax(dim=-1)
    return temperature**2 * (wanted.exp() * (wanted - seen)).sum(dim=-1)


@dataclass(frozen=True, eq=False)
class SoftBatches:
    """The teacher's part of the loss of some steps: what logits are drawn to `[K, C, n]` (probabilities, softened),
    how strongly `[K, 1, n]`, and the images' weights `[K, 1, n]`."""

    target: Tensor
    share: Tensor
    weight: Tensor

    def first(self, length: int) -> SoftBatches:
        """Those of the first images."""
        return SoftBatches(*(t[..., :length] for t in (self.target, self.share, self.weight)))

    @property
    def pull(self) -> Tensor:
        """What it adds to the pull of a step `[K, C, n]`."""
        return -self.target * self.share


class StackTeacher:
    """What the heads of a stack learn from a teacher, each by its own temperature and weight."""

    def __init__(self, targets: SoftTargets, heads: Sequence[HeadSpec], device: torch.device) -> None:
        self._targets, self._heads, self._device = targets, heads, device
        temperatures = [_temperature(head) for head in heads]
        self.temperature = torch.tensor(temperatures, dtype=torch.float32, device=device)[:, None, None]

    def batches(self, logs: Tensor, rows: Tensor, images: Indices, share: Tensor) -> SoftBatches:
        """Of a block with the teacher's `logs` `[R, C]`: its `rows` `[K, n]`, images of the pool `[K, n]`, and what
        each counts in its batch's mean `[K, 1, n]`."""
        every = zip(self._heads, images, strict=True)
        own = np.stack([self._targets.weights(head.training, of_pool) for head, of_pool in every])
        weight = torch.from_numpy(own).to(self._device)[:, None]
        target = (logs[rows].mT / self.temperature).softmax(dim=1)
        # The square of the temperature, over the temperature that logits are divided by.
        return SoftBatches(target, share * weight * self.temperature, weight)

    def losses(self, logits: Tensor, soft: SoftBatches) -> Tensor:
        """`[K]`: the sum over images of logits `[K, C, n]` of their weighted divergence."""
        wanted = soft.target.clamp_min(torch.finfo(torch.float32).tiny).log()
        seen = (logits / self.temperature).log_softmax(dim=1)
        each = (soft.target * (wanted - seen)).sum(dim=1, keepdim=True) * self.temperature**2
        return (each * soft.weight * (soft.share > 0)).sum(dim=(1, 2))


def _temperature(head: HeadSpec) -> float:
    assert head.training.distillation is not None
    return head.training.distillation.temperature
