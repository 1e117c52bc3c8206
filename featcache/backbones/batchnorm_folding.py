"""A frozen network in, the same function without its batch norms out: folded into the convolutions before them."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger("featcache")

MAX_RELATIVE_ERROR = 1e-4  # of a row's norm; folding rounds differently and changes nothing else


def fold_batch_norms(network: nn.Module, images: Tensor) -> tuple[nn.Module, int]:
    """A copy of `network` (in evaluation mode) with every batch norm folded that directly follows a convolution, and
    how many were; the network itself and 0 where that cannot be done or would change its features `[N, F]`.

    Pairs are found by running `images` `[N, 3, S, S]` through it: a batch norm that is given the very tensor which a
    convolution returned. Whether anything else used that tensor too shows in the features, which are compared.
    """
    with torch.no_grad():
        expected = network(images)
        try:
            folded = copy.deepcopy(network)
            pairs = _pairs(folded, images)
            for conv, norm in pairs:
                _fold(folded, conv, norm)
            found = folded(images)
        except Exception as error:  # networks hold what cannot be copied, or reach for their norms' weights
            log.debug("batch norms are not folded: %s: %s", type(error).__name__, error)
            return network, 0
    change = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-30)
    if not pairs or not bool((change <= MAX_RELATIVE_ERROR).all()):
        return network, 0
    return folded, len(pairs)


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) that stand back to back, each of them run exactly once."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, so that its address is not given away again
    calls: dict[str, int] = {}
    pairs: list[tuple[str, str]] = []

    def after_conv(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            del module, inputs
            calls[name] = calls.get(name, 0) + 1
            made[id(output)] = (name, output)

        return hook

    def before_norm(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            del module
            calls[name] = calls.get(name, 0) + 1
            source = made.get(id(inputs[0]))
            if source is not None:
                pairs.append((source[0], name))

        return hook

    hooks = []
    for name, module in network.named_modules():
        if type(module) is nn.Conv2d:
            hooks.append(module.register_forward_hook(after_conv(name)))
        elif isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            hooks.append(module.register_forward_pre_hook(before_norm(name)))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [(c, n) for c, n in pairs if calls[c] == 1 and calls[n] == 1]


def _fold(network: nn.Module, conv: str, norm: str) -> None:
    batch_norm: Any = network.get_submodule(norm)
    convolution: Any = network.get_submodule(conv)
    fused = fuse_conv_bn_eval(convolution, batch_norm)
    network.set_submodule(conv, fused)
    network.set_submodule(norm, _rest(batch_norm))


def _rest(batch_norm: nn.Module) -> nn.Module:
    """What remains to be done after the folded norm: timm's carry their dropout and activation."""
    parts = [getattr(batch_norm, name, None) for name in ("drop", "act")]
    rest = [part for part in parts if isinstance(part, nn.Module) and not isinstance(part, nn.Identity)]
    return nn.Sequential(*rest) if rest else nn.Identity()
