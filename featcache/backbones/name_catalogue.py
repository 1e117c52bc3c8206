"""A glob in, the backbones that model.backbone can name out, with sizes of shape-only networks: nothing is computed."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from featcache.backbones.configured_network import is_configured, read_network
from featcache.backbones.name_answers import answer, exact_names, tagged_names
from featcache.backbones.other_names import names_elsewhere
from featcache.backbones.shape_only import shapes
from featcache.backbones.source import Published, Source
from featcache.backbones.source_lookup import CUSTOM, sources
from featcache.backbones.weights import cached_file, cached_repositories, place_at_hand
from featcache.errors import UnknownBackboneError, WeightsError
from featcache.options import HUB, take_apart

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

    A library in front (`timm/resnet*`) asks that one alone, a tag (`resnet18.*`) lists timm's weights, and a name that
    is spelled otherwise or is somebody else's (`ResNet18`, `ViT-B/32`) lists what the libraries call it. With `at_hand`
    those of all libraries whose weights are on this machine, each of a network's weights by itself. Raises
    UnknownBackboneError, with what is near, when nothing matches.
    """
    library, plain = take_apart(pattern)
    every = sources(allow_custom, only=library)
    asked = [*every.values()]
    found = [(source, name) for source in asked for name in _matching(source, plain, at_hand)] or _meant(asked, plain)
    if not found:
        meant = answer(plain, asked)
        raise UnknownBackboneError(
            f"no backbone is named like {pattern!r}.{meant and f' {meant}'} Try a glob such as '*{plain.strip('*')}*'."
        )
    if at_hand:
        found += [] if pattern else [(every["timm"], name) for name in _others_at_hand()]
        return [listed for source, name in found for listed in _at_hand(source, name)]
    sized = len(found) <= MAX_SIZED
    return [_listed(source, name, sized) for source, name in found]


def _others_at_hand() -> list[str]:
    """Networks with a timm config in the hub's cache that are not timm's own."""
    found = []
    for repository in cached_repositories():
        name = f"{HUB}{repository}"
        if repository.startswith("timm/") or names_elsewhere(repository) is not None:
            continue
        config = Published("config.json", "", repository, ("config.json",))
        if cached_file(config) is None:  # never asks the hub
            continue
        with contextlib.suppress(UnknownBackboneError, WeightsError):  # no image classifier of timm's
            read_network(name)
            found.append(name)
    return found


def _at_hand(source: Source, name: str) -> list[Listed]:
    """An entry for each of a network's weights that are on this machine, under the name that asks for them."""
    if source.name == CUSTOM:
        return [Listed(name, source.name, None, None, ITS_OWN, "a function")]
    published = source.published(name)
    places = {one: place for one in published if (place := place_at_hand(source, name, one))}
    if not places:
        return []
    features, size = shapes(source, name) or (None, None)
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


def _matching(source: Source, pattern: str, every: bool) -> list[str]:
    """The names of a source that fit the pattern; without one those of timm only where `every` name is asked for."""
    if is_configured(pattern):
        return [pattern] if source.name == "timm" else []
    if not pattern:
        return source.names() if every or source.name != "timm" else []
    names = [*source.names(), *(tagged_names(source) if "." in pattern else [])]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def _meant(asked: Sequence[Source], typed: str) -> list[tuple[Source, str]]:
    """What is spelled otherwise, and what others call so."""
    elsewhere = names_elsewhere(typed)
    names = [*exact_names(typed, asked), *(elsewhere.names[:1] if elsewhere is not None else ())]
    return [(source, name) for name in dict.fromkeys(names) for source in asked if source.has(name)]


def _listed(source: Source, name: str, sized: bool) -> Listed:
    if source.name == CUSTOM:
        return Listed(name, source.name, None, None, ITS_OWN, "a function")
    published = source.published(name) if sized or source.name != "timm" else []
    features, size = (sized and shapes(source, name)) or (None, None)
    label = published[0].label if published else ("none" if sized else "")
    return Listed(
        name, source.name, features, size, label, place_at_hand(source, name, published[0]) if published else ""
    )
