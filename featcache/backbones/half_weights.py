"""A network that runs under autocast, its weights made narrow once, where autocast makes them narrow in every pass."""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn

from featcache.devices import out_of_memory

log = logging.getLogger("featcache")

# What autocast computes in half precision whatever it is given. Norms, softmax, position tables are not among them:
# they stay float32. Only these very classes: one derived from them may do something else with its weights first.
PRODUCTS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
# PyTorch's own attention is; but where it takes its fused kernel, which needs all in one type, it must be left alone.
ATTENTION: tuple[type[nn.Module], ...] = (nn.MultiheadAttention, nn.modules.linear.NonDynamicallyQuantizableLinear)


def narrow_weights(network: nn.Module, images: Tensor, precision: str) -> tuple[nn.Module, int]:
    """A copy of `network` (in evaluation mode) that holds the weights of its convolutions and linear layers as
    `precision`, "bfloat16" or "float16", and how many numbers those are; the network itself and 0 where that
    cannot be done.

    Autocast would round the same numbers in the same way, so features `[N, F]` stay the same, bit for bit: of a
    network for which `images` `[N, 3, S, S]` show otherwise nothing is changed.
    """
    dtype = getattr(torch, precision)
    with torch.no_grad(), torch.autocast(images.device.type, dtype):
        expected = network(images)
        for kinds in (PRODUCTS + ATTENTION, PRODUCTS):
            try:
                narrow = copy.deepcopy(network)
                numbers = _narrow(narrow, kinds, dtype)
                if numbers and torch.equal(narrow(images), expected):
                    return narrow, numbers
            except Exception as error:  # networks hold what cannot be copied, or compute with their weights
                if out_of_memory(error):
                    break
                log.debug("weights are not narrowed: %s: %s", type(error).__name__, error)
    return network, 0


def _narrow(network: nn.Module, kinds: tuple[type[nn.Module], ...], dtype: torch.dtype) -> int:
    numbers = 0
    for module in network.modules():
        if type(module) in kinds:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
                numbers += parameter.numel()
    return numbers
