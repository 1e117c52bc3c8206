"""Optimisers by name: options in, the update of heads in a stack or a `torch.optim.Optimizer` out.

An entry of OPTIMISERS is all there is to an optimiser. Its name also stands among those that `training.optimizer` may
give, in `featcache/options/training_options.py`: stage one cannot import this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featcache.options import TrainingOptions

ParameterGroups = list[dict[str, Any]]  # as torch.optim takes them

BETAS = (0.9, 0.999)  # PyTorch's defaults, of adam and adamw
EPS = 1e-8


@dataclass
class StackSlices:
    """Heads of a stack that one kernel call can update: slices of its tensors, and the options that they share."""

    training: TrainingOptions
    rate: Tensor  # [], of this epoch
    params: list[Tensor]
    grads: list[Tensor]
    first: list[Tensor]  # moments, zeros at first: the mean of gradients; of sgd the momentum buffer
    second: list[Tensor]  # the mean of squared gradients
    steps: list[Tensor]  # how many updates there were, this one included


@dataclass(frozen=True)
class Optimiser:
    """An optimiser, for heads in a stack and for end-to-end training: both must take the same step."""

    update: Callable[[StackSlices], None]  # heads in place, from their gradients, by a fused kernel of PyTorch's
    end_to_end: Callable[[ParameterGroups, TrainingOptions], torch.optim.Optimizer]


def torch_optimiser(training: TrainingOptions, groups: Sequence[Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
    """Options and the parameters of each group in, PyTorch's own optimiser of them out: for end-to-end training."""
    return OPTIMISERS[training.optimizer].end_to_end([{"params": list(group)} for group in groups], training)


def _sgd(heads: StackSlices) -> None:
    torch._fused_sgd_(
        heads.params,
        heads.grads,
        # Zeros at first: momentum x 0 + gradient is what a fresh buffer starts with.
        heads.first if heads.training.momentum else [],
        weight_decay=heads.training.weight_decay,
        momentum=heads.training.momentum,
        lr=heads.rate,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,
    )


def _adam(kernel: Callable[..., None]) -> Callable[[StackSlices], None]:
    """The update by Adam's kernel, or by AdamW's: they differ in what weight decay does."""

    def update(heads: StackSlices) -> None:
        kernel(
            heads.params,
            heads.grads,
            heads.first,
            heads.second,
            [],
            heads.steps,
            lr=heads.rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=heads.training.weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    return update


OPTIMISERS: dict[str, Optimiser] = {
    "adamw": Optimiser(
        update=_adam(torch._fused_adamw_),
        end_to_end=lambda groups, t: torch.optim.AdamW(groups, t.learning_rate, BETAS, EPS, t.weight_decay, fused=True),
    ),
    "adam": Optimiser(
        update=_adam(torch._fused_adam_),
        end_to_end=lambda groups, t: torch.optim.Adam(groups, t.learning_rate, BETAS, EPS, t.weight_decay, fused=True),
    ),
    "sgd": Optimiser(
        update=_sgd,
        end_to_end=lambda groups, t: torch.optim.SGD(
            groups, t.learning_rate, t.momentum, weight_decay=t.weight_decay, fused=True
        ),
    ),
}
