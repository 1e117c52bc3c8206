"""The name of a function of the user's in, the network that it makes out; importing code by name must be allowed."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from featcache.backbones.other_names import names_elsewhere
from featcache.backbones.source import Published
from featcache.errors import UnknownBackboneError, WorkError
from featcache.plugins import entry_points, load_entry
from featcache.records import Preprocessing

ENTRY_POINTS = "featcache.backbones"


class Custom:
    """Functions of the user's: installed entry points, or `package.module:function` where that is allowed.

    The function takes no arguments and returns a network, or a network and a Preprocessing (at 224 pixels with
    ImageNet's mean and deviation where it returns none). Its classifier is taken off by the same rule as any other's.
    """

    name = "custom"

    def __init__(self, allow: bool) -> None:
        self.allow = allow

    def names(self) -> list[str]:
        """The installed entry points."""
        return sorted(e.name for e in entry_points(group=ENTRY_POINTS))

    def has(self, name: str) -> bool:
        """Whether it is an entry point, or a function that may be imported."""
        return name in self.names() or ":" in name

    def published(self, name: str) -> list[Published]:
        """None: the function brings its own weights."""
        del name
        return []

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        """What the function returns."""
        del published, weights_file
        built = self._function(name)()
        network, preprocessing = built if isinstance(built, tuple) else (built, Preprocessing(224, 256))
        if not isinstance(network, nn.Module) or not isinstance(preprocessing, Preprocessing):
            raise WorkError(
                f"{name}: returned {type(built).__name__}; expected a torch.nn.Module, or one and a Preprocessing."
            )
        return network, preprocessing.at(input_size) if input_size else preprocessing

    def _function(self, name: str) -> Callable[[], Any]:
        for entry in entry_points(group=ENTRY_POINTS):
            if entry.name == name:
                return self._callable(name, load_entry(entry, ENTRY_POINTS))
        if not self.allow:
            raise UnknownBackboneError(
                f"model.backbone: {name!r} names code to import, which an options file may not do by itself. "
                f"Pass --allow-custom (in Python: allow_custom=True) if you trust it.{_meant(name)}"
            )
        module, _, attribute = name.partition(":")
        try:
            return self._callable(name, getattr(importlib.import_module(module), attribute))
        except (ImportError, AttributeError, ValueError) as error:
            raise UnknownBackboneError(f"model.backbone: {name!r} cannot be imported: {error}.") from None

    def _callable(self, name: str, value: Any) -> Callable[[], Any]:
        if not callable(value) or any(
            p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}
            for p in inspect.signature(value).parameters.values()
        ):
            raise UnknownBackboneError(f"model.backbone: {name!r} is no function that can be called without arguments.")
        function: Callable[[], Any] = value
        return function


def _meant(name: str) -> str:
    """For what is no function but a known network with a colon in its name, as in `ViT-B-32::openai`."""
    found = next((known for part in re.split(":+", name) if part and (known := names_elsewhere(part))), None)
    return f" If the network is meant, it is {found.names[0]!r}." if found is not None else ""
