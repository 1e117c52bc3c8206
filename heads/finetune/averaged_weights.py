"""The average of networks' weights, and the batch norms whose statistics it must be given anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from heads.finetune.batch_inputs import Batch, InputSource
from heads.finetune.forward_path import ForwardPath
from heads.finetune.run_setup import RunSetup

STATISTICS = ("running_mean", "running_var")


def average_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, added up in float64; what is no float (a counter) is the first's.

    Source: Wortsman et al. 2022, "Model soups"; a tensor that is equal in all stays as it is, bit for bit.
    """
    return {
        name: _mean([state[name] for state in states]) if first.is_floating_point() else first.clone()
        for name, first in states[0].items()
    }


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.double() for t in tensors]).mean(dim=0).to(tensors[0].dtype)


def moved_norms(network: nn.Module, states: Sequence[Mapping[str, Tensor]]) -> list[_BatchNorm]:
    """The batch norms whose statistics are not the same in all states: those that were trained with."""
    return [
        module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats and _moved(name, states)
    ]


def _moved(name: str, states: Sequence[Mapping[str, Tensor]]) -> bool:
    prefix = f"{name}." if name else ""
    return any(not torch.equal(s[prefix + one], states[0][prefix + one]) for s in states[1:] for one in STATISTICS)


@torch.no_grad()
def estimate_statistics(
    norms: Sequence[_BatchNorm], batches: Iterable[Tensor], forward: Callable[[Tensor], object]
) -> None:
    """Give batch norms the statistics of `batches`, each batch counting the same, as `torch.optim.swa_utils.update_bn`
    does; all else stays in evaluation mode.

    Source: Izmailov et al. 2018, "Averaging weights leads to wider optima": averaged weights give other activations
    than any of the networks had, so that the averages of their statistics are of none.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a mean over all batches
        norm.train()
    try:
        for batch in batches:
            forward(batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()


def estimate_from_images(norms: Sequence[_BatchNorm], path: ForwardPath, source: InputSource, setup: RunSetup) -> None:
    """`estimate_statistics` from plain views of the training images, in batches from all over the data set, which lies
    sorted by class; of several processes each takes a share of each batch."""
    train, them = setup.dataset.train, setup.processes
    count = -(-len(train) // setup.micro_batches.size)
    shares = [them.share(train[k::count]) for k in range(count)]
    inputs = source.inputs([Batch(mine, np.zeros(len(mine), np.int64)) for mine, _ in shares])

    def batches() -> Iterator[Tensor]:
        for (_, weight), x in zip(shares, inputs, strict=True):
            them.copies[0] = round(1 / weight)
            yield x

    path.eval()
    estimate_statistics(norms, batches(), path)
