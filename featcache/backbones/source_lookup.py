"""A backbone's name in, the source that has it out; an unknown name gives the nearest ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from featcache.backbones.custom_functions import Custom
from featcache.backbones.libraries import LIBRARIES
from featcache.backbones.name_answers import answer
from featcache.backbones.source import Published, Source
from featcache.errors import OptionsError, UnknownBackboneError
from featcache.options import SOURCE_PLUGINS, source_names
from featcache.plugins import load_plugin, package_code, plugin_names
from featcache.records import Preprocessing

CUSTOM = "custom"
TAKEN = ("auto", CUSTOM, *LIBRARIES)  # names that no package can take


def sources(allow_custom: bool = False, only: str | None = None) -> dict[str, Source]:
    """Every source by name, in the order that `auto` asks them, or `only` one. Those of installed packages are
    imported: raises PluginError where one cannot be used."""
    names = (*LIBRARIES, *plugin_names(SOURCE_PLUGINS, TAKEN), CUSTOM)
    return {name: _open(name, allow_custom) for name in names if only in {None, name}}


def find_source(name: str, source: str = "auto", allow_custom: bool = False) -> Source:
    """The source that has `name`; a package's is imported only when it is named, or featcache's libraries lack `name`.

    Raises UnknownBackboneError with the nearest names, PluginError for a package's source that cannot be used.
    """
    asked = []
    for candidate in _in_order(allow_custom) if source == "auto" else [_open(source, allow_custom)]:
        if candidate.has(name):
            return candidate
        asked.append(candidate)
    others = [library() for library in LIBRARIES.values()] if source != "auto" else []
    meant = answer(name, asked, others)
    raise UnknownBackboneError(
        f"model.backbone: {name!r} is no classifier of {' or '.join(s.name for s in asked)}.{meant and f' {meant}'} "
        "`featcache backbones` lists what can be named."
    )


def _in_order(allow_custom: bool) -> Iterator[Source]:
    """What `auto` asks, opened one by one."""
    for name in LIBRARIES:
        yield _open(name, allow_custom)
    for name in plugin_names(SOURCE_PLUGINS, TAKEN):
        yield _plugin(name)
    yield _open(CUSTOM, allow_custom)


def _open(name: str, allow_custom: bool) -> Source:
    if name == CUSTOM:
        return Custom(allow_custom)
    if name in LIBRARIES:
        return LIBRARIES[name]()
    if name not in plugin_names(SOURCE_PLUGINS, TAKEN):
        raise OptionsError(f"model.source: got {name!r}; expected one of {', '.join(source_names())}.")
    return _plugin(name)


def _plugin(name: str) -> Source:
    return _Plugin(name, load_plugin(SOURCE_PLUGINS, name, Source, taken=TAKEN))  # type: ignore[type-abstract]


@dataclass
class _Plugin:
    """A source that an installed package brings: what its code raises is said with its name."""

    name: str
    source: Source

    def names(self) -> list[str]:
        with package_code(f"source {self.name!r}"):
            return list(self.source.names())

    def has(self, name: str) -> bool:
        with package_code(f"source {self.name!r}"):
            return bool(self.source.has(name))

    def published(self, name: str) -> list[Published]:
        with package_code(f"source {self.name!r}"):
            return list(self.source.published(name))

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        return self.source.build(name, published, weights_file, input_size)  # the factory says which network failed
