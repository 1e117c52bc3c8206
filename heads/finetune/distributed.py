"""Several processes, by `torchrun` or --devices: each one's share of a batch, sums over all, shared batch norms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, and missing in torch's stub

from featcache.extraction import Indices

HERE = "127.0.0.1"
PATIENCE = timedelta(hours=12)  # the first process extracts features while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among `count`; the one with rank 0 writes and speaks."""

    rank: int = 0
    count: int = 1
    copies: list[int] = field(default_factory=lambda: [1])  # of each image of the batch that is worked on

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, images: Indices) -> tuple[Indices, float]:
        """This process's images of a batch, and what each of them counts: 1. Where there are fewer images than
        processes each takes all of them, for its part of 1, so that all take part and statistics stay what they are."""
        if len(images) < self.count:
            return images, 1 / self.count
        return np.array_split(images, self.count)[self.rank], 1.0

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process does what is inside, then the others, who find what it has written."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows `[n, C]` of every process, one after the other, on every process."""
        if self.count == 1:
            return rows
        every: list[Tensor | None] = [None] * self.count
        dist.all_gather_object(every, rows.cpu())
        return torch.cat([r.to(rows.device) for r in every if r is not None])

    def agreed(self, value: object) -> object:
        """What the first process says."""
        if self.count == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` started, or featcache itself, connected inside the block; one alone needs no
    connection."""
    if dist.is_initialized():  # by `connected`, or by whoever calls featcache as a library
        yield Processes(dist.get_rank(), dist.get_world_size())
    elif int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
    else:
        with _group(device):
            yield Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def connected(device: torch.device, rank: int, count: int, port: int) -> Iterator[None]:
    """This process one of `count` inside the block, which find each other on this machine at a `port` where
    `meeting_place` is."""
    store = TCPStore(HERE, port, is_master=False, timeout=PATIENCE)
    _join(device, store=store, rank=rank, world_size=count)
    yield
    dist.destroy_process_group()  # not after an error, of which this process has to tell before the others fail by it


def meeting_place() -> TCPStore:
    """Where processes of this machine find each other, as long as the object lives."""
    return TCPStore(HERE, 0, is_master=True, wait_for_workers=False)


def _join(device: torch.device, **how: Any) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE, **how)


@contextmanager
def _group(device: torch.device) -> Iterator[None]:
    _join(device)
    try:
        yield
    finally:
        dist.destroy_process_group()


def share_batch_norms(network: nn.Module, device: torch.device, them: Processes) -> nn.Module:
    """`network` with batch norms that, where they train, take the statistics of the whole batch: of all processes."""
    if device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # importing timm takes a second

        converted: nn.Module = convert_sync_batchnorm(network)
        return converted
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # PyTorch's SyncBatchNorm takes no tensors on a CPU
            module.__dict__["forward"] = partial(_shared_batch_norm, module, them)
    return network


class _Sum(torch.autograd.Function):
    """The sum over processes, of values and, on the way back, of gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        return _reduced(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return _reduced(gradient)


def _reduced(values: Tensor) -> Tensor:
    total = values.clone()
    dist.all_reduce(total)
    return total


def _shared_batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, them: Processes, x: Tensor) -> Tensor:
    """What `norm` gives for its share `[n, C, ..]` of a batch; statistics are summed in float32."""
    if not norm.training:
        found: Tensor = type(norm).forward(norm, x)
        return found
    places = [d for d in range(x.ndim) if d != 1]
    shape = [1, -1, *(1 for _ in places[1:])]
    wide = x.float()
    sums = _summed(torch.cat([wide.sum(places), wide.new_tensor([x.numel() / x.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = wide - mean.view(shape)
    variance = _summed(centred.square().sum(places)) / count
    if norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean, share)
            once = count / them.copies[0]
            norm.running_var.lerp_(variance * once / (once - 1).clamp_min(1), share)
    normalised = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.affine:
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    normalised = normalised.to(x.dtype)
    for name in ("drop", "act"):  # timm's norms carry what comes after them
        if isinstance(after := getattr(norm, name, None), nn.Module):
            normalised = after(normalised)
    return normalised


def _summed(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total
