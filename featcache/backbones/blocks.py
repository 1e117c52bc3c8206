"""A network in blocks, stem first, and which of them train: what fine-tuning freezes and unfreezes.

Frozen blocks have no gradients and stay in evaluation mode, so that their batch statistics do not move either.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from featcache.backbones.model import Backbone, JoinedBackbone, Model
from featcache.backbones.stages import stages
from featcache.backbones.surgery import AUXILIARY_PREFIX, CLASSIFIER_NAMES, FeaturesThenPool
from featcache.errors import OptionsError


@dataclass(frozen=True)
class Block:
    """Neighbouring layers that are frozen, and trained, together."""

    name: str  # as the network calls it: layer4, features.denseblock4, blocks.11; stem for what stands before
    parameters: tuple[str, ...]  # names as in `named_parameters()` of the model
    modules: tuple[str, ...]  # every module that lies in this block alone, by its name in `named_modules()`


def blocks(model: nn.Module) -> tuple[Block, ...]:
    """The blocks of a Model, a Backbone or a network with its classifier, in order of execution.

    Every parameter is in one block, but for those of the head: what `Model` calls so, or a network's own classifiers.
    Raises OptionsError for joined backbones.
    """
    network, prefix = _network(model)
    heads = _heads(network) if network is model else {"head"} if isinstance(model, Model) else set()
    parameters = dict(model.named_parameters())
    sizes = {name.removeprefix(prefix): p.numel() for name, p in parameters.items() if not _is_within(name, heads)}
    found = stages(network, sizes)
    own = [[prefix + name for name in stage.parameters] for stage in found]
    modules = _modules(model, [{id(parameters[name]) for name in names} for names in own], heads)
    return tuple(Block(s.name, tuple(p), tuple(m)) for s, p, m in zip(found, own, modules, strict=True))


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


def _network(model: nn.Module) -> tuple[nn.Module, str]:
    """The network that is divided, and where it stands in the model: "" or a prefix that ends in a dot."""
    network, prefix = model, ""
    if isinstance(network, Model):
        network, prefix = network.backbone, "backbone."
    if isinstance(network, JoinedBackbone):
        raise OptionsError(
            f"fine-tuning takes one network, got {len(network.parts)} joined ones. Name one of them in model.backbone, "
            "or train heads on the joined features without fine-tuning."
        )
    if isinstance(network, Backbone):
        network, prefix = network.network, prefix + "network."
    if isinstance(network, FeaturesThenPool):
        network, prefix = network.network, prefix + "network."
    return network, prefix


def _heads(network: nn.Module) -> set[str]:
    """The modules that are a network's own classifiers, by name."""
    names = {n for n, _ in network.named_children() if n in CLASSIFIER_NAMES or n.lower().startswith(AUXILIARY_PREFIX)}
    get: Any = getattr(network, "get_classifier", None)
    if get is None:
        return names
    if getattr(network, "pre_logits", None) is not None:  # timm: hidden layers of the classifier, VGG's two
        names.add("pre_logits")
    found = get()
    listed = found if isinstance(found, tuple | list | nn.ModuleList) else [found]
    classifiers = {id(m) for m in listed if isinstance(m, nn.Module)}
    return names | {n for n, m in network.named_modules() if n and id(m) in classifiers}


def _modules(model: nn.Module, parameters: Sequence[set[int]], heads: set[str]) -> list[list[str]]:
    """For every block the modules in it alone; those without parameters follow the parameters registered before."""
    owner = {parameter: k for k, own in enumerate(parameters) for parameter in own}
    inside: dict[str, int] = {}
    last = 0
    for name, module in model.named_modules() if owner else ():
        parent = name.rpartition(".")[0]
        if _is_within(name, heads):
            continue
        owners = {owner.get(id(p)) for p in module.parameters()}
        if name and parent in inside:
            inside[name] = inside[parent]
        elif len(owners) == 1 and (only := owners.pop()) is not None:
            inside[name] = last = only
        elif not owners:
            inside[name] = last
    found: list[list[str]] = [[] for _ in parameters]
    for name, k in inside.items():
        found[k].append(name)
    return found


def _is_within(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)
