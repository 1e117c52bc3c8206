"""A backbone's name in, the source that has it out; an unknown name gives the nearest ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from featcache.backbones.custom_functions import Custom
from featcache.backbones.libraries import LIBRARIES
from featcache.backbones.source import Source
from featcache.errors import OptionsError, PluginError, UnknownBackboneError
from featcache.options import SOURCE_PLUGINS, source_names
from featcache.plugins import load_plugin, plugin_names

CUSTOM = "custom"
TAKEN = ("auto", CUSTOM, *LIBRARIES)  # names that no package can take


def sources(allow_custom: bool = False) -> dict[str, Source]:
    """Every source by name, in the order that `auto` asks them. Those of installed packages are imported: raises
    PluginError where one cannot be used."""
    return {source.name: source for source in _in_order(allow_custom)}


def find_source(name: str, source: str = "auto", allow_custom: bool = False) -> Source:
    """The source that has `name`; a package's is imported only when it is named, or featcache's libraries lack `name`.

    Raises UnknownBackboneError with the nearest names, PluginError for a package's source that cannot be used.
    """
    asked = []
    for candidate in _in_order(allow_custom) if source == "auto" else [_open(source, allow_custom)]:
        if candidate.has(name):
            return candidate
        asked.append(candidate)
    known = [n for s in asked for n in s.names()]
    close = list(dict.fromkeys(difflib.get_close_matches(name, known, n=4, cutoff=0.5)))
    nearest = f" Nearest: {', '.join(close)}." if close else ""
    raise UnknownBackboneError(
        f"model.backbone: {name!r} is no classifier of {' or '.join(s.name for s in asked)}.{nearest} "
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
    found = load_plugin(SOURCE_PLUGINS, name, Source, taken=TAKEN)  # type: ignore[type-abstract]
    if found.name != name:  # runs record the one and options name the other
        raise PluginError(
            f"entry point {name!r} in {SOURCE_PLUGINS!r}: the source calls itself {found.name!r}. Expected the same "
            "name in both places."
        )
    return found
