"""Adapters: of blocks that are unfrozen only few parameters train, some of them put in for it.

LoRA (Hu et al. 2022) comes from the library `peft`; what it adds is merged into the weights of what is kept, so that a
run's network is the plain one.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from featcache.backbones import Backbone
from featcache.errors import InputError, OptionsError
from featcache.options import Adapter

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
ADDED = "lora_"  # in the names of what LoRA puts in


def put_in(backbone: Backbone, adapter: Adapter) -> None:
    """Make room for an adapter in the network, which gives what it gave before.

    Raises OptionsError where the network has nothing that it could train, InputError where `peft` is not installed.
    """
    if adapter.kind == "lora":
        _add_lora(backbone, adapter)
    elif not adapted(backbone, adapter):
        what = "biases" if adapter.kind == "bitfit" else "normalisations with weights"
        raise OptionsError(
            f"training.adapter: {backbone.info.identity.backbone} has no {what}. Choose another kind, or null."
        )


def adapted(backbone: Backbone, adapter: Adapter) -> frozenset[str]:
    """The names, among the backbone's parameters, of those that train."""
    names = [name for name, _ in backbone.named_parameters()]
    if adapter.kind == "lora":
        return frozenset(name for name in names if ADDED in name)
    if adapter.kind == "bitfit":
        return frozenset(name for name in names if name.endswith("bias"))
    norms = {name for name, module in backbone.named_modules() if isinstance(module, NORMS)}
    return frozenset(name for name in names if name.rpartition(".")[0] in norms)


def hold_the_rest(backbone: Backbone, adapter: Adapter) -> None:
    """Of what is unfrozen train the adapter alone."""
    trains = adapted(backbone, adapter)
    for name, parameter in backbone.named_parameters():
        if name not in trains:
            parameter.requires_grad_(False)


def draw(backbone: Backbone, adapter: Adapter, seed: int) -> None:
    """Begin LoRA as its authors do, by a seed: one matrix drawn, the other zero, so that their product is."""
    if adapter.kind != "lora":
        return
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if f"{ADDED}A" in name:
                bound = 1 / math.sqrt(parameter.shape[1])  # kaiming_uniform_ with a = sqrt(5), as nn.Linear has it
                drawn = torch.rand(parameter.shape, generator=generator) * 2 * bound - bound
                parameter.copy_(drawn)
            elif f"{ADDED}B" in name:
                parameter.zero_()


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network as it was built, with what LoRA learned added to its weights; on the CPU."""
    merged = copy.deepcopy(network) if any(ADDED in n for n, _ in network.named_parameters()) else network
    for name, module in list(merged.named_modules()):
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(merged.get_submodule(parent), child, module.get_base_layer())
    return {n: t.detach().cpu().contiguous() for n, t in merged.state_dict().items()}


def _add_lora(backbone: Backbone, adapter: Adapter) -> None:
    name = backbone.info.identity.backbone
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(
            "training.adapter: kind lora takes the library peft, which is not installed: pip install 'featcache[lora]'."
        ) from None
    whole = [n for n, m in backbone.network.named_modules() if isinstance(m, nn.MultiheadAttention)]
    targets = [
        n
        for n, m in backbone.network.named_modules()
        # PyTorch's own attention reads the weights of the layers inside past their forward.
        if isinstance(m, nn.Linear) and not any(n.startswith(f"{one}.") for one in whole)
    ]
    if not targets:
        raise OptionsError(
            f"training.adapter: kind lora is for transformers, and {name} has no linear layers in its blocks. Choose "
            "norm or bitfit, or null."
        )
    config = LoraConfig(
        r=adapter.rank, lora_alpha=adapter.lora_alpha, target_modules=targets, lora_dropout=0.0, bias="none"
    )
    inject_adapter_in_model(config, backbone.network)
