"""Which blocks train: frozen ones have no gradients and stay in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

from torch import nn

from featcache.backbones.modules import Backbone
from featcache.backbones.network_blocks import Block, blocks
from featcache.errors import OptionsError


def set_model_freeze(model: nn.Module, unfreeze_percent: float) -> None:
    """Train the last `unfreeze_percent` of the blocks and the head, and freeze the blocks before.

    0.0 trains the head alone, 1.0 everything, 0.5 the last half of the blocks (halves round up, and above 0.0 at least
    one block trains). Raises OptionsError unless it is within 0.0 and 1.0.
    """
    if not (math.isfinite(unfreeze_percent) and 0 <= unfreeze_percent <= 1):
        raise OptionsError(
            f"unfreeze_percent: got {unfreeze_percent}; expected a share of the blocks from 0.0 (the head alone "
            "trains) to 1.0 (everything trains). Write 0.5 for the last half."
        )
    every = blocks(model)
    train_from(model, every, len(every) - trained_blocks(unfreeze_percent, len(every)))


def trained_blocks(share: float, count: int) -> int:
    """How many of `count` blocks are a share of them: halves round up, and above 0.0 it is one at least."""
    return min(count, max(int(share * count + 0.5), int(share > 0)))


def train_from(model: nn.Module, every: Sequence[Block], first: int) -> None:
    """Train the blocks `every[first:]` of `blocks(model)` and the head; freeze those before.

    It holds whatever `train()` is called on the model or a part of it, and in copies and pickles of the model. Trained
    parts are in the mode that the model is in; one that was wholly frozen, without a head, counts as in evaluation
    mode. A module with a frozen block inside is in evaluation mode itself and passes `train()` on to its children.
    Raises OptionsError unless `first` is within 0 and `len(every)`.
    """
    if not 0 <= first <= len(every):
        raise OptionsError(
            f"first: got {first}, but the network has {len(every)} blocks; expected 0 (everything trains) to "
            f"{len(every)} (the head alone trains)."
        )
    mode = any(module.training for module in model.modules())
    _require_gradients(model, {name for block in every[:first] for name in block.parameters})
    _hold_modes(model, every[:first])
    for module in model.modules():
        if isinstance(module, Backbone):
            module.frozen = first == len(every)
    model.train(mode)


def _require_gradients(model: nn.Module, frozen: set[str]) -> None:
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
            parameter.grad = None  # an optimiser that still holds it must not move it
        elif parameter.is_floating_point() or parameter.is_complex():
            parameter.requires_grad_(True)


def _hold_modes(model: nn.Module, frozen: Iterable[Block]) -> None:
    """Give every frozen module a `train` of its own, and take it from the others.

    It stands in the instance and is a partial of a function here, so that copies hold their own and pickles can name
    it.
    """
    whole = {name for block in frozen for name in block.modules}
    parameters = dict(model.named_parameters())
    still = {id(parameters[name]) for block in frozen for name in block.parameters}
    for name, module in model.named_modules():
        if name in whole:
            module.__dict__["train"] = partial(_stay_in_eval, module)
        elif any(id(p) in still for p in module.parameters()):
            module.__dict__["train"] = partial(_pass_on, module)
        elif getattr(module.__dict__.get("train"), "func", None) in (_stay_in_eval, _pass_on):
            del module.__dict__["train"]


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return type(module).train(module, False)  # the class's: a few networks override it


def _pass_on(module: nn.Module, mode: bool = True) -> nn.Module:
    """Its own flag would speak for frozen blocks too; of its children each knows."""
    module.training = False
    for child in module.children():
        child.train(mode)
    return module
