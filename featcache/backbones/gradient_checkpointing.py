"""Gradient checkpointing: what a network's blocks computed is computed again in the backward pass, and not kept.

Chen et al. 2016, "Training deep nets with sublinear memory cost". What is kept are the inputs of blocks,
and what lies inside one of them at a time, for about one more forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from featcache.errors import WorkError

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def checkpointed_modules(network: nn.Module) -> list[str]:
    """The names of the modules whose insides are computed again: residual, transformer, dense and inception blocks.

    A module is one where it has two layers with parameters or more and is none that others of one class stand in side
    by side: those are looked into, as stages are.
    """
    return list(_units(network, ""))


def _units(module: nn.Module, prefix: str) -> Iterator[str]:
    around = not isinstance(module, CONTAINERS) and len(list(module.children())) == 1  # a network in a wrapper
    for name, child in module.named_children():
        if _layers(child) < 2:
            continue
        if isinstance(child, CONTAINERS) or _is_stage(child) or around:
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _layers(module: nn.Module) -> int:
    """How many modules in it have parameters of their own."""
    return sum(any(True for _ in m.parameters(recurse=False)) for m in module.modules())


def _is_stage(module: nn.Module) -> bool:
    """Whether blocks of one class stand in it side by side."""
    for inner in module.modules():
        if inner is not module and isinstance(inner, CONTAINERS):
            blocks = (type(m) for m in inner.children() if not isinstance(m, CONTAINERS) and _layers(m) > 1)
            if max(Counter(blocks).values(), default=0) > 1:
                return True
    return False


@contextmanager
def gradients_checkpointed(modules: Sequence[nn.Module]) -> Iterator[None]:
    """What these modules do in a forward pass within is checkpointed, where something in them trains.

    Random draws are those of the first time, and batch norms count a batch once: gradients, weights and statistics are
    those of a pass that keeps everything. Raises WorkError in the backward pass where an input was changed in place.
    """
    with ExitStack() as stack:
        for module in modules:
            if any(p.requires_grad for p in module.parameters()):
                stack.enter_context(_replaced(module))
        yield


@contextmanager
def _replaced(module: nn.Module) -> Iterator[None]:
    own = module.__dict__.get("forward")  # that of an instance, where it has one
    module.__dict__["forward"] = _checkpointing(module, module.forward)
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


def _checkpointing(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **named: Any) -> Any:
        versions: list[int] = []

        def once_more(*again: Any) -> Any:
            now = [t._version for t in _tensors(again)]
            if not versions:
                versions.extend(now)
            elif now != versions:
                raise WorkError(
                    f"training.gradient_checkpointing: the network changes the input of {type(module).__name__} in "
                    "place, so that it cannot be computed again. Set it to false."
                )
            return forward(*again, **named)

        # The list of outputs that a dense layer is given grows behind it.
        own = [list(value) if isinstance(value, list) else value for value in args]
        return checkpoint(
            once_more, *own, use_reentrant=False, context_fn=lambda: (nullcontext(), _counted_once(module))
        )

    return run


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@contextmanager
def _counted_once(module: nn.Module) -> Iterator[None]:
    """Batch norms that train take the statistics of their batch within, and leave the running ones as they are."""
    norms: list[Any] = [m for m in module.modules() if m.training and getattr(m, "track_running_stats", False)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked -= 1
