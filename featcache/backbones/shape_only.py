"""A network that has shapes and no values (PyTorch's meta device): what it gives for which size, without computing."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from featcache.backbones.classifier_removal import remove_classifier
from featcache.backbones.source import Source


def shapes(source: Source, name: str, input_size: int | None = None) -> tuple[int, int] | None:
    """Feature and input size of a network built for images of `input_size` pixels (None: of the published size); None
    where it takes none of these, or cannot do without values, as a few cannot."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with _NoValues():
                network, preprocessing = source.build(name, None, None, input_size)
            trunk, _ = remove_classifier(network.eval().to("meta"))
            side = preprocessing.input_size
            output = trunk.eval()(torch.empty(2, 3, side, side, device="meta"))
        return (output.shape[1], side) if output.ndim == 2 else None
    except Exception:  # networks assert, divide by zero or run out of pixels, each in its own way
        return None


class _NoValues(TorchFunctionMode):
    """Layers allocate their weights with `torch.empty`: none are, while the few real computations stay possible."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
