"""A model and what of it is to train in; frozen blocks have no gradients and stay in eval mode, batch norms too."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from functools import partial
from numbers import Real

from torch import nn

from featcache.backbones.backbone import Backbone
from featcache.backbones.network_blocks import Block, blocks
from featcache.counted_nouns import counted
from featcache.errors import OptionsError
from featcache.options import UnfreezeStep


def set_model_freeze(model: nn.Module, unfreeze_percent: float | str) -> None:
    """Train the last blocks of `model` and its head, and freeze the blocks before.

    `unfreeze_percent` is what `unfreeze` is in a schedule: "last_block", "all", the fraction of the blocks that train
    (0.0 the head alone, 1.0 everything, 0.5 the last half; halves round up, and above 0.0 at least one block trains),
    or the name of the first block that does. Raises OptionsError for anything else.
    """
    every = blocks(model)
    train_from(model, every, first_trained(unfreeze_percent, [b.name for b in every], "unfreeze_percent"))


def first_trained_by_step(steps: Sequence[UnfreezeStep], blocks: Sequence[str], backbone: str) -> list[int]:
    """For each step of an `unfreeze_schedule` the place of the first block that trains, among `blocks`, stem first.

    Raises OptionsError for a block that the backbone has not, for steps that freeze what trained before, and for a
    backbone with nothing to train.
    """
    key = "training.unfreeze_schedule"
    if not blocks:
        raise OptionsError(f"{key}: {backbone} has no parameters to train. Train heads on its features instead.")
    places: list[int] = []
    for step in steps:
        place = first_trained(step.unfreeze, blocks, key, backbone)
        if places and place > places[-1]:
            raise OptionsError(
                f"{key} is out of order: at epoch {step.epoch} {step.unfreeze!r} would freeze {blocks[places[-1]]!r} "
                f"of {backbone} again. Expected steps that unfreeze ever more."
            )
        places.append(place)
    return places


def first_trained(unfreeze: object, blocks: Sequence[str], key: str, network: str = "the network") -> int:
    """The place of the first block that trains among `blocks`, the names of the blocks, stem first.

    `unfreeze` is "last_block", "all", the fraction of the blocks that train, or the name of the first that does; where
    the head alone trains, the place is that behind the last block. Raises OptionsError that names `key` and `network`.
    """
    count = len(blocks)
    share = _fraction(unfreeze)
    if share is not None:
        return count - _share(share, count)
    places = {**{name: k for k, name in enumerate(blocks)}, "all": 0, "last_block": max(count - 1, 0)}
    if isinstance(unfreeze, str) and unfreeze in places:
        return places[unfreeze]
    names = f"or one of {', '.join(blocks)}" if blocks else "or the name of a block"
    expected = f"Expected last_block, all, a fraction from 0 to 1, {names}."
    if isinstance(unfreeze, str):
        close = difflib.get_close_matches(unfreeze, ["last_block", "all", *blocks], n=1, cutoff=0.5)
        nearest = f" (did you mean {close[0]!r}?)" if close else ""
        raise OptionsError(f"{key}: {network} has no block {unfreeze!r}{nearest}. {expected}")
    raise OptionsError(
        f"{key}: got {unfreeze!r:.80}. {expected} 0 trains the head alone, 0.5 the last half of the blocks, 1 all."
    )


def _fraction(value: object) -> float | None:
    """`value` as a number from 0 to 1, where it is one; of numpy's numbers too, which search loops hold."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    return float(value) if 0 <= float(value) <= 1 else None


def _share(share: float, count: int) -> int:
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
            f"first: got {first}, but the network has {counted(len(every), 'block')}; expected 0 (everything trains) "
            f"to {len(every)} (the head alone trains)."
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
