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
from featcache.backbones.source_lookup import CUSTOM, sources
from featcache.backbones.weights import place_at_hand
from featcache.errors import UnknownBackboneError

MAX_SIZED = 120  # names; more than these are listed without sizes, which take a moment each
ITS_OWN = "its own"  # weights that a function of the user's brings


@dataclass(frozen=True)
class Listed:
    """One name; sizes are None where they were not looked up."""

    name: str
    source: str
    features: int | None
    input_size: int | None
    weights: str  # the default ones; of those at hand each
    place: str  # where on this machine the weights are, in words; "" where they are not


def catalogue(pattern: str = "", allow_custom: bool = False, at_hand: bool = False) -> list[Listed]:
    """The backbones whose name matches the glob `pattern`; without one, all but timm's 1,000 and more.

    With `at_hand` those of all libraries whose weights are on this machine, each of a network's weights by itself.
    Raises UnknownBackboneError when nothing matches.
    """
    every = sources(allow_custom)
    found = [
        (source, name)
        for source in every.values()
        if pattern or at_hand or source.name != "timm"
        for name in source.names()
        if not pattern or fnmatch.fnmatch(name, pattern)
    ]
    if not found:
        raise UnknownBackboneError(
            f"no backbone is named like {pattern!r}. Try a glob such as '*{pattern.strip('*')}*'."
        )
    if at_hand:
        return [listed for source, name in found for listed in _at_hand(source, name)]
    sized = len(found) <= MAX_SIZED
    return [_listed(source, name, sized) for source, name in found]


def _at_hand(source: Source, name: str) -> list[Listed]:
    """An entry for each of a network's weights that are on this machine, under the name that asks for them."""
    if source.name == CUSTOM:
        return [Listed(name, source.name, None, None, ITS_OWN, "a function")]
    published = source.published(name)
    places = {one: place for one in published if (place := place_at_hand(source, name, one))}
    if not places:
        return []
    features, size = _sizes(source, name)
    return [
        Listed(
            name if one is published[0] or source.name != "timm" else f"{name}.{one.label}",
            source.name,
            features,
            size,
            one.label,
            place,
        )
        for one, place in places.items()
    ]


def _listed(source: Source, name: str, sized: bool) -> Listed:
    if source.name == CUSTOM:
        return Listed(name, source.name, None, None, ITS_OWN, "a function")
    published = source.published(name) if sized or source.name != "timm" else []
    features, size = _sizes(source, name) if sized else (None, None)
    label = published[0].label if published else ("none" if sized else "")
    return Listed(
        name, source.name, features, size, label, place_at_hand(source, name, published[0]) if published else ""
    )


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
