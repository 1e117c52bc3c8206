"""Heads that learn from a teacher: the loss of Hinton et al. as a plain loop has it, alone and in a stack."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from test_stacked_training import BATCH, DIMS, assert_same, head, losses, toy, train
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from heads.training import SoftTargets
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.random_draws import Draws


def taught(views: int = 2, blocks: int = 1) -> Features:
    """The toy's clusters with a teacher's answers to each view; every fifth image has no label."""
    features = toy(views=views)
    rows = int(features.views.sum())
    logs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(1)).mul(2).log_softmax(1).numpy()
    only = (np.arange(len(features.labels)) % 5 == 0) & (np.arange(len(features.labels)) < 70)
    return replace(features, soft=SoftTargets(logs, only), limit_bytes=features.nbytes / blocks)


def plain_losses(features: Features, one: HeadSpec) -> list[float]:
    """Training losses by autograd, with torch's own divergence."""
    soft, distillation = features.soft, one.training.distillation
    assert soft is not None and distillation is not None
    t, fold = distillation.temperature, features.folds[0]
    torch.manual_seed(one.seed)
    layers = [nn.Linear(a, b) for a, b in pairwise(one.dims)]
    model = nn.Sequential(*[m for layer in layers[:-1] for m in (layer, nn.ReLU())], layers[-1])
    optimizer = torch.optim.AdamW(model.parameters(), one.training.learning_rate, weight_decay=0.01)
    x, y, logs = (torch.from_numpy(a) for a in (features.rows.values, features.labels, soft.logs))
    found = []
    for epoch in range(one.training.epochs):
        draws, total = Draws(one.seed, epoch), 0.0
        order = fold.train[draws.order(len(fold.train))]
        rows = features.rows.first[order] + draws.views(len(order), int(features.views[0]))
        for start in range(0, len(order), BATCH):
            batch = slice(start, start + BATCH)
            weight = torch.where(torch.from_numpy(soft.only[order[batch]]), 1.0, distillation.weight)
            logits, target = model(x[rows[batch]]), (logs[rows[batch]] / t).softmax(1)
            hard = cross_entropy(logits, y[order[batch]], reduction="none")
            taught = t**2 * kl_div((logits / t).log_softmax(1), target, reduction="none").sum(1)
            loss = ((1 - weight) * hard + weight * taught).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(target)
        found.append(total / len(order))
    return found


@pytest.mark.parametrize("dims", [(12, 4), DIMS])
@pytest.mark.parametrize("asked", [{"temperature": 3.0, "weight": 0.7}, {"temperature": 1.0, "weight": 1.0}])
def test_the_loss_is_that_of_a_plain_loop(dims: tuple[int, ...], asked: dict[str, float]) -> None:
    features = taught()
    one = head(5, dims, dropout=0.0, distillation={"teacher": "t", **asked})
    (trained,) = train(features, one)
    assert torch.allclose(losses(trained)[:, 0], torch.tensor(plain_losses(features, one)), atol=1e-4)
    (untaught,) = train(replace(features, soft=None), head(5, dims, dropout=0.0))
    assert not torch.allclose(losses(trained), losses(untaught), atol=1e-2)


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_stack_of_students_is_each_alone(blocks: int) -> None:
    features = taught(blocks=blocks)
    asked = [{"temperature": 2.0, "weight": 0.5}, {"temperature": 5.0, "weight": 0.9}, {"temperature": 2.0}]
    heads = [head(k, distillation={"teacher": "t", **one}) for k, one in enumerate(asked)]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert_same(trained, *train(features, one))


def test_what_no_teacher_is_asked_about_has_no_part() -> None:
    """Answers to validation images change no bit of any head."""
    features = taught()
    one = head(1, distillation={"teacher": "t"})
    assert features.soft is not None
    changed = features.soft.logs.copy()
    changed[int(features.views[:70].sum()) :] = 0.0
    (before,) = train(features, one)
    (after,) = train(replace(features, soft=replace(features.soft, logs=changed)), one)
    assert torch.equal(losses(before), losses(after))
