"""A network in, its blocks out, stem first, every parameter in exactly one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from featcache.backbones.backbone import Backbone, JoinedBackbone
from featcache.backbones.classifier_removal import AUXILIARY_PREFIX, CLASSIFIER_NAMES, FeaturesThenPool
from featcache.backbones.model_with_head import Model
from featcache.backbones.network_stages import stages
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
