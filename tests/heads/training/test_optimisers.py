"""Optimisers and schedulers by name: each has its entry, and steps alike in stacks and end to end."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from featcache.options.training_options import TrainingOptions
from heads.training.head_stack import HeadStack
from heads.training.optimisers import OPTIMISERS, torch_optimiser
from heads.training.schedulers import SCHEDULERS, rate_factor
from heads.training.stack_optimiser import StackOptimiser


def named(field: str) -> set[str]:
    """The names that an option may give."""
    return set(get_args(TrainingOptions.model_fields[field].annotation))


def test_every_name_that_options_may_give_has_an_entry() -> None:
    assert set(OPTIMISERS) == named("optimizer")
    assert set(SCHEDULERS) == named("scheduler")


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_an_optimiser_takes_the_same_steps_in_a_stack_and_end_to_end(name: str, momentum: float) -> None:
    settings = {"optimizer": name, "learning_rate": 0.05, "weight_decay": 0.1, "momentum": momentum, "epochs": 4}
    training = TrainingOptions.model_validate(settings)
    stack = HeadStack((6, 5, 3), [1, 2], torch.device("cpu"))
    stacked = StackOptimiser(stack, [training, training])
    alone = [[nn.Parameter(v[k].clone()) for v in stack.values] for k in range(stack.heads)]
    before = [v.clone() for v in stack.values]
    solo = torch_optimiser(training, alone)
    stacked.begin(0)
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        for grad in stack.grads:
            grad.copy_(torch.randn(grad.shape, generator=generator))
        for k, parameters in enumerate(alone):
            for parameter, grad in zip(parameters, stack.grads, strict=True):
                parameter.grad = grad[k].clone()
        stacked.step()
        solo.step()
    for place, value in enumerate(stack.values):
        assert not torch.equal(value, before[place])
        for k, parameters in enumerate(alone):
            torch.testing.assert_close(value[k], parameters[place].detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_begins_at_the_full_rate_after_the_warm_up_and_never_exceeds_it(name: str) -> None:
    training = TrainingOptions.model_validate({"scheduler": name, "epochs": 12, "warmup_epochs": 2})
    factors = [rate_factor(training, epoch) for epoch in range(12)]
    assert factors[:3] == [1 / 3, 2 / 3, 1.0]
    assert all(0 < factor <= 1 for factor in factors)
