"""One process, or several that `torchrun` started, each with a share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from heads.features import Indices

PATIENCE = timedelta(hours=12)  # the first process extracts features while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among `count`; the one with rank 0 writes and speaks."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def share(self, images: Indices) -> tuple[Indices, int]:
        """This process's images of a batch, and how many of them count: each process has one at least, so that all
        take part, and where there are too few it counts for nothing."""
        mine = np.array_split(images, self.count)[self.rank]
        return (mine, len(mine)) if len(mine) else (images[:1], 0)

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

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


def local_device() -> str | None:
    """The GPU that `torchrun` means for this process; None where it is for the options to say."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return None


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` started, connected inside the block; one alone needs no connection."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if dist.is_initialized():  # by whoever calls featcache as a library
        yield Processes(dist.get_rank(), dist.get_world_size())
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def share_batch_norms(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` with batch norms that, where they train, take the statistics of the whole batch: of all processes."""
    if device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(network)
        return converted
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # PyTorch's own SyncBatchNorm takes no tensors on a CPU
            module.__dict__["forward"] = partial(_shared_batch_norm, module)
    return network


def _shared_batch_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """What `norm` gives for its share `[n, C, H, W]` of a batch."""
    if not norm.training:
        return type(norm).forward(norm, x)
    places = (0, 2, 3)
    sums = all_reduce(torch.cat([x.sum(places), x.new_tensor([x.numel() / x.shape[1]])]))
    count = sums[-1].detach()
    mean = sums[:-1] / count
    centred = x - mean[:, None, None]
    variance = all_reduce(centred.square().sum(places)) / count
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        with torch.no_grad():
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            share = norm.momentum if norm.momentum is not None else 1 / float(norm.num_batches_tracked)
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance * count / (count - 1).clamp_min(1), share)
    normalised = centred * (variance + norm.eps).rsqrt()[:, None, None]
    if norm.affine:
        normalised = normalised * norm.weight[:, None, None] + norm.bias[:, None, None]
    for name in ("drop", "act"):  # timm's norms carry what comes after them
        if isinstance(after := getattr(norm, name, None), nn.Module):
            normalised = after(normalised)
    found: Tensor = normalised
    return found
