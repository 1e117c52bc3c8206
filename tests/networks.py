"""Custom backbones for training end to end: small, in four stages, built in a millisecond (32 pixels a side)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from featcache.records import Preprocessing

WIDTHS = (8, 12, 16, 24)
FOUR = ("layer1", "layer2", "layer3", "layer4")  # the blocks of most networks here
PREPROCESSING = Preprocessing(input_size=32, resize_size=36)

limit = 10**9  # images that `short_of_memory` takes in one training pass
limit_everywhere = 10**9  # and in any pass
gain = 1.0  # what `of_a_global` multiplies its images by


class Stage(nn.Module):
    """Two convolutions, so that the stage is a block of its own, and what regularises it."""

    def __init__(self, inputs: int, outputs: int, *, norm: bool = True, dropout: float = 0.0, depth: float = 0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.depth = depth
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        branch = self.norm2(self.conv2(x))
        if self.depth and self.training:  # stochastic depth
            branch = branch * (torch.rand(len(x), 1, 1, 1) >= self.depth) / (1 - self.depth)
        out: Tensor = self.dropout((x + branch).relu())
        return out


class FourStages(nn.Module):
    """Images `[N, 3, 32, 32]` to 10 classes by way of 24 features. `regular` stages have dropout and depth."""

    def __init__(self, *, norm: bool = True, dropout: float = 0.0, depth: float = 0.0, regular: int = 4) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        for k in range(4):
            extra = {"dropout": dropout, "depth": depth} if k < regular else {}
            setattr(self, FOUR[k], Stage(widths[k], widths[k + 1], norm=norm, **extra))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.layer1(x))

    def finish(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.layer4(self.layer3(self.layer2(x)))).flatten(1))
        return logits


class Noisy(FourStages):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.3 * torch.randn_like(x))


class OfAGlobal(FourStages):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(gain * x)


class ShortOfMemory(FourStages):
    def forward(self, x: Tensor) -> Tensor:
        trains = torch.is_grad_enabled() and self.layer4.training
        if len(x) > limit_everywhere or (trains and len(x) > limit):
            raise torch.OutOfMemoryError(f"{len(x)} images are too many")
        return super().forward(x)


class Branching(FourStages):
    """What it does depends on the images, which no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        return self.finish(x.flip(3) if float(x.detach().mean()) > 1e6 else x)


class RootBuffer(FourStages):
    """A running mean of its own, between its stages."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("mean", torch.zeros(WIDTHS[0], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(x)
        if self.training:
            with torch.no_grad():
                self.mean.lerp_(x.float().mean((0, 2, 3))[:, None, None], 0.3)
        return self.finish(x - self.mean)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for k in range(1, 4):
            setattr(self, FOUR[k], Stage(WIDTHS[k - 1], WIDTHS[k]))

    def forward(self, x: Tensor) -> Tensor:
        x = dropout(self.layer2(x), 0.5, self.training)
        found: Tensor = self.layer4(self.layer3(x))
        return found


class Nested(nn.Module):
    """Three stages in a module that itself does something in training; blocks stem, body.layer2, .."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, stride=2, padding=1)
        self.body = Body()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.pool(self.body(self.stem(x).relu())).flatten(1))
        return logits


class DropsFirst(FourStages):
    """Its last block begins with dropout."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.layer4 = nn.Sequential(nn.Dropout(0.4), self.layer4)


def _seeded(build: type[nn.Module], **options: Any) -> tuple[nn.Module, Preprocessing]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return build(**options), PREPROCESSING


def four_stages() -> tuple[nn.Module, Preprocessing]:
    """Convolutions and batch norms."""
    return _seeded(FourStages)


def without_norms() -> tuple[nn.Module, Preprocessing]:
    """No image's gradient depends on the others in its batch."""
    return _seeded(FourStages, norm=False)


def with_dropout() -> tuple[nn.Module, Preprocessing]:
    """The weights of `four_stages`, with dropout and stochastic depth in every stage."""
    return _seeded(FourStages, dropout=0.3, depth=0.3)


def with_early_dropout() -> tuple[nn.Module, Preprocessing]:
    """The same in all stages but the last."""
    return _seeded(FourStages, dropout=0.3, depth=0.3, regular=3)


def noisy() -> tuple[nn.Module, Preprocessing]:
    """Random in evaluation mode too."""
    return _seeded(Noisy)


def of_a_global() -> tuple[nn.Module, Preprocessing]:
    """Its features depend on `gain`, which no digest of its weights can know."""
    return _seeded(OfAGlobal)


def short_of_memory() -> tuple[nn.Module, Preprocessing]:
    """`without_norms` on a device that takes `limit` images in training, and `limit_everywhere` in any pass."""
    return _seeded(ShortOfMemory, norm=False)


def branching() -> tuple[nn.Module, Preprocessing]:
    """Cannot be cut."""
    return _seeded(Branching)


def root_buffer() -> tuple[nn.Module, Preprocessing]:
    """A buffer that is in no block."""
    return _seeded(RootBuffer)


def nested() -> tuple[nn.Module, Preprocessing]:
    """A module with several blocks inside that has a dropout of its own."""
    return _seeded(Nested)


def drops_first() -> tuple[nn.Module, Preprocessing]:
    """Dropout is the first thing after the cut."""
    return _seeded(DropsFirst)


def at_forty() -> tuple[nn.Module, Preprocessing]:
    """Four stages that take other images than most networks here: larger, squashed, normalised otherwise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        network = FourStages()
    return network, Preprocessing(40, 40, resize_mode="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
