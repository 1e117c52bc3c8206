"""A classification network in, the same without its classifier out, giving pooled features `[N, F]`; found by rule.

Pooled features are the last feature map after the network's own global pooling, before any layer of its classifier
(mobilenet_v3_large: 960, not 1280; vgg16: 25088; squeezenet1_0: 512).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from featcache.counted_nouns import counted
from featcache.errors import WorkError

CLASSIFIER_NAMES = ("fc", "classifier", "head", "heads")
AUXILIARY_PREFIX = "aux"  # AuxLogits (inception), aux1 and aux2 (googlenet)


class ToVector(nn.Module):
    """What the classifier was given, as `[N, F]`; a map `[N, C, H, W]`, which it would have pooled, is averaged."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool and flatten."""
        return adaptive_avg_pool2d(x, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


class FeaturesThenPool(nn.Module):
    """A timm network up to and including its own global pooling module."""

    def __init__(self, network: nn.Module, pool: str) -> None:
        super().__init__()
        self.network = network
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """Images `[N, 3, S, S]` to pooled features `[N, F]`."""
        pool = self.network.get_submodule(self.pool)
        features: Tensor = pool(self.network.forward_features(x))  # type: ignore[operator]  # timm's own method
        return features.flatten(1)


def remove_classifier(network: nn.Module) -> tuple[nn.Module, str]:
    """The network without its classifier, giving `[N, F]`, and the place the features are tapped at.

    timm networks are cut after their own pooling; others at their attribute `fc`, `classifier`, `head` or `heads`. A
    network with none of them is taken to give features already.
    """
    if hasattr(network, "forward_features") and hasattr(network, "reset_classifier"):
        return _cut_timm(network)
    for name, child in list(network.named_children()):
        if name.lower().startswith(AUXILIARY_PREFIX) and child is not None:
            setattr(network, name, None)
            if hasattr(network, "aux_logits"):  # torchvision's switch: left on, training would give a tuple
                network.__dict__["aux_logits"] = False
    for name in CLASSIFIER_NAMES:
        if isinstance(getattr(network, name, None), nn.Module):
            setattr(network, name, ToVector())
            return network, f"input of {name}"
    return network, "output"


def _cut_timm(network: nn.Module) -> tuple[nn.Module, str]:
    network.reset_classifier(0)  # type: ignore[operator]
    for path in ("global_pool", "head.global_pool"):
        try:
            pool = network.get_submodule(path)
        except AttributeError:
            continue
        if not isinstance(pool, nn.Identity):
            return FeaturesThenPool(network, path), f"output of {path}"
    # Transformers pool in a function of their own: timm's pre-logits are their pooled features.
    return network, "pre-logits"


def run_once(module: nn.Module, images: Tensor) -> tuple[Tensor, set[str]]:
    """`module(images)` without gradients, and the names of the submodules that ran."""
    ran: set[str] = set()
    hooks = [m.register_forward_pre_hook(lambda _m, _i, n=name: ran.add(n)) for name, m in module.named_modules()]
    try:
        with torch.inference_mode():
            output = module(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise WorkError(
            f"the network gave {shape} for {counted(len(images), 'image')}; expected pooled features [N, F]."
        )
    return output, ran


def drop_unused(module: nn.Module, ran: set[str], images: Tensor) -> None:
    """Take out what lies behind the tap, so that it counts in no figure: children with weights in which nothing ran.

    Looks no deeper than a network's own children and its head's, and puts back what `module(images)` turns out to
    need: a few networks read a child's weights, or call its methods, without running it.
    """
    unused = [
        (parent, name, child)
        for parent, name, child, path in list(_outer_children(module))
        if any(True for _ in child.parameters()) and not any(r == path or r.startswith(path + ".") for r in ran)
    ]
    if not unused:
        return
    expected, _ = run_once(module, images)
    for parent, name, child in unused:
        setattr(parent, name, nn.Identity())
        try:
            same = torch.equal(run_once(module, images)[0], expected)
        except Exception:  # whatever it misses, it needs the child
            same = False
        if not same:
            setattr(parent, name, child)


def _outer_children(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module, str]]:
    prefix = "network." if isinstance(module, FeaturesThenPool) else ""
    network = module.network if isinstance(module, FeaturesThenPool) else module
    for name, child in network.named_children():
        yield network, name, child, prefix + name
        if name == "head":
            for inner, grandchild in child.named_children():
                yield child, inner, grandchild, f"{prefix}{name}.{inner}"
