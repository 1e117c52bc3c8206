"""A glob in, the backbones that model.backbone can name out, with sizes of shape-only networks: nothing is computed."""

from __future__ import annotations

import fnmatch
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from featcache.backbones.classifier_removal import remove_classifier
from featcache.backbones.source import Source
from featcache.backbones.source_lookup import sources
from featcache.backbones.weights import cached_file
from featcache.errors import UnknownBackboneError

MAX_SIZED = 120  # names; more than these are listed without sizes, which take a moment each


@dataclass(frozen=True)
class Listed:
    """One name; sizes are None where they were not looked up."""

    name: str
    source: str
    features: int | None
    input_size: int | None
    weights: str  # the default ones
    at_hand: bool


def catalogue(pattern: str = "", allow_custom: bool = False) -> list[Listed]:
    """The backbones whose name matches the glob `pattern`; without one, all but timm's 1,000 and more.

    Raises UnknownBackboneError when nothing matches.
    """
    every = sources(allow_custom)
    found = [
        (source, name)
        for source in every.values()
        if pattern or source.name != "timm"
        for name in source.names()
        if not pattern or fnmatch.fnmatch(name, pattern)
    ]
    if not found:
        raise UnknownBackboneError(
            f"no backbone is named like {pattern!r}. Try a glob such as '*{pattern.strip('*')}*'."
        )
    sized = len(found) <= MAX_SIZED
    return [_listed(source, name, sized) for source, name in found]


def _listed(source: Source, name: str, sized: bool) -> Listed:
    published = source.published(name) if sized or source.name != "timm" else []
    features, size = _sizes(source, name) if sized and source.name != "custom" else (None, None)
    label = (
        published[0].label if published else ("its own" if source.name == "custom" else ("" if not sized else "none"))
    )
    return Listed(name, source.name, features, size, label, bool(published) and cached_file(published[0]) is not None)


def _sizes(source: Source, name: str) -> tuple[int | None, int | None]:
    """Feature and input size, from a network that has shapes and no values (PyTorch's meta device)."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with _NoValues():
                network, preprocessing = source.build(name, None, None, None)
            trunk, _ = remove_classifier(network.eval().to("meta"))
            side = preprocessing.input_size
            output = trunk.eval()(torch.empty(2, 3, side, side, device="meta"))
        return output.shape[1], side
    except Exception:  # a few networks compute with their weights while they are built or run
        return None, None


class _NoValues(TorchFunctionMode):
    """Layers allocate their weights with `torch.empty`: none are, while the few real computations stay possible."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
