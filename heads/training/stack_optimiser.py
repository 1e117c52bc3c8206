"""Gradients of K heads in a stack in, updated heads out, each by its own optimiser, learning rate and weight decay.

The kernels are those behind `torch.optim.AdamW(fused=True)` and its like, called on slices of the stack: one pass over
weights, gradients and state for each group of heads that share everything, and no bookkeeping for each parameter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from featcache.options import TrainingOptions
from heads.training.cuda_graph import side_streams
from heads.training.head_stack import HeadStack
from heads.training.optimisers import OPTIMISERS, StackSlices
from heads.training.schedulers import rate_factor

# On a GPU, updates that run beside each other: the kernel takes 65,536 numbers a block, so a head of two million keeps
# 32 blocks busy, of the hundreds that the device has room for.
STREAMS = 8


class StackOptimiser:
    """Optimiser state of a stack."""

    def __init__(self, stack: HeadStack, trainings: Sequence[TrainingOptions]) -> None:
        self.stack = stack
        self.trainings = list(trainings)
        device = stack.values[0].device
        self.step_count = torch.zeros((), device=device)
        self._streams = side_streams(device, STREAMS) if device.type == "cuda" else ()
        self._first = [torch.zeros_like(v) for v in stack.values]
        self._second = [torch.zeros_like(v) for v in stack.values]
        self._groups = self._grouped()

    def begin(self, epoch: int) -> None:
        """Set every head's learning rate for an epoch."""
        for group in self._groups:
            group.rate.fill_(group.training.learning_rate * rate_factor(group.training, epoch))

    def step(self) -> None:
        """Update every head from its gradients."""
        self.step_count.add_(1)
        streams = self._streams[: len(self._groups)]
        if len(streams) < 2:
            for group in self._groups:
                OPTIMISERS[group.training.optimizer].update(group)
            return
        here = torch.cuda.current_stream(self.step_count.device)
        for stream in streams:
            stream.wait_stream(here)
        for number, group in enumerate(self._groups):
            with torch.cuda.stream(streams[number % len(streams)]):
                OPTIMISERS[group.training.optimizer].update(group)
        for stream in streams:
            here.wait_stream(stream)

    def select(self, heads: Tensor) -> None:
        """Keep these heads only; the stack has done so already."""
        self.trainings = [self.trainings[k] for k in heads.tolist()]
        self._first = [t[heads] for t in self._first]
        self._second = [t[heads] for t in self._second]
        self._groups = self._grouped()

    def _grouped(self) -> list[StackSlices]:
        members: dict[tuple[object, ...], list[int]] = {}
        for k, t in enumerate(self.trainings):
            key = (t.optimizer, t.learning_rate, t.weight_decay, t.momentum, t.scheduler, t.warmup_epochs, t.epochs)
            members.setdefault(key, []).append(k)
        return [self._group(heads) for heads in members.values()]

    def _group(self, heads: Sequence[int]) -> StackSlices:
        # Slices of one head even where the group is the whole stack: the kernel rounds the last few numbers of a tensor
        # another way than the rest, so on whole stacks a head's update would depend on its place among others.
        def slices(tensors: Sequence[Tensor]) -> list[Tensor]:
            return [t[k] for k in heads for t in tensors]

        params = slices(self.stack.values)
        return StackSlices(
            training=self.trainings[heads[0]],
            rate=torch.zeros((), device=self.step_count.device),
            params=params,
            grads=slices(self.stack.grads),
            first=slices(self._first),
            second=slices(self._second),
            steps=[self.step_count] * len(params),
        )
