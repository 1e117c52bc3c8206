"""Small networks of four stages, for fine-tuning that is killed, resumed, or shared among processes."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from torch import Tensor, nn

from featcache.records import Preprocessing

SIDE = 32


class Stages(nn.Module):
    """Four stages of a convolution each, halving the side; dropout before the last one and before the classifier."""

    def __init__(self, batch_norm: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer1 = _stage(3, 8, batch_norm)
        self.layer2 = _stage(8, 12, batch_norm)
        self.layer3 = _stage(12, 16, batch_norm)
        self.layer4 = nn.Sequential(nn.Dropout(dropout), *_stage(16, 24, batch_norm))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class Slow(Stages):
    """The same; a pass takes a moment, so that others can do something meanwhile."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.02)
        return super().forward(x)


class Failing(Stages):
    """The same, but in one of several processes its passes in training fail."""

    def forward(self, x: Tensor) -> Tensor:
        if self.fc.training and dist.is_initialized() and dist.get_rank() == 1:
            raise ArithmeticError("the second process has had enough")
        return super().forward(x)


def _stage(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    norm = [nn.BatchNorm2d(outputs)] if batch_norm else []
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=not batch_norm), *norm, nn.ReLU())


def _made(kind: type[Stages], batch_norm: bool, dropout: float) -> tuple[nn.Module, Preprocessing]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = kind(batch_norm, dropout)
    return network, Preprocessing(input_size=SIDE, resize_size=36)


def normed() -> tuple[nn.Module, Preprocessing]:
    """With batch norms and dropout."""
    return _made(Stages, True, 0.2)


def steady() -> tuple[nn.Module, Preprocessing]:
    """With batch norms, without dropout: draws nothing."""
    return _made(Stages, True, 0.0)


def plain() -> tuple[nn.Module, Preprocessing]:
    """Without batch norms and dropout."""
    return _made(Stages, False, 0.0)


def slow() -> tuple[nn.Module, Preprocessing]:
    """`normed`, slow."""
    return _made(Slow, True, 0.2)


def slow_steady() -> tuple[nn.Module, Preprocessing]:
    """`steady`, slow."""
    return _made(Slow, True, 0.0)


def failing() -> tuple[nn.Module, Preprocessing]:
    """`steady`, which fails in the second of several processes."""
    return _made(Failing, True, 0.0)
