"""Named entries of a kind: those that featcache has, and those that installed packages bring by entry point.

A package adds one in its own pyproject.toml: `[project.entry-points."featcache.measures"]`, `name = "module:object"`.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from featcache.errors import FeatcacheError, PluginError

T = TypeVar("T")


def plugin_names(group: str, taken: Collection[str] = ()) -> tuple[str, ...]:
    """The names that installed packages bring in an entry point group, sorted; nothing of theirs is imported.

    Raises PluginError for one that is `taken`, or that two packages bring.
    """
    return tuple(sorted(_brought(group, taken)))


def is_plugin(group: str, name: str, taken: Collection[str] = ()) -> bool:
    """Whether an installed package brings `name` in an entry point group; of others nothing is asked.

    Raises PluginError where it is `taken`, or two packages bring it.
    """
    return name in _brought(group, taken, name)


def with_plugins(group: str, built_in: Mapping[str, T], kind: type[T]) -> dict[str, T]:
    """The `built_in` entries by name, then those of installed packages in `group`, which are imported.

    Raises PluginError for one that has a built-in name, cannot be imported, or is no `kind`.
    """
    brought = _brought(group, built_in)
    return {**built_in, **{name: _load(entry, group, kind) for name, entry in brought.items()}}


def one_with_plugins(group: str, name: str, built_in: Mapping[str, T], kind: type[T]) -> T:
    """The entry `name`: a `built_in` one, or that of an installed package in `group`, which alone is imported.

    Raises PluginError as `with_plugins` does, of entry points with this name; KeyError where there is none.
    """
    brought = _brought(group, built_in, name)
    return built_in[name] if name in built_in else _load(brought[name], group, kind)


def load_plugin(group: str, name: str, kind: type[T], taken: Collection[str] = ()) -> T:
    """The entry `name` of installed packages in `group`, the only one that is imported; a class is called for its
    instance.

    Raises PluginError where two packages bring it, for a name that is `taken`, and for what `with_plugins` refuses.
    """
    return _load(_brought(group, taken, name)[name], group, kind, made=True)


@contextmanager
def package_code(what: str) -> Iterator[None]:
    """Within it the code of `what` runs, such as "measure 'spread'"; raises PluginError that names it on failure."""
    try:
        yield
    except FeatcacheError:
        raise
    except Exception as error:  # it is the package's own code
        raise PluginError(
            f"the {what} of an installed package failed ({type(error).__name__}: {error}). Mend or "
            "uninstall the package."
        ) from error


def entry_points(*, group: str) -> tuple[EntryPoint, ...]:
    """Those of installed packages in a group, as the first look along `sys.path` found them."""
    return _installed(group, tuple(sys.path))


@cache  # looking through all packages takes 5 ms, and a report asks 50 times
def _installed(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:  # noqa: ARG001  # the cache is of a path
    return tuple(importlib.metadata.entry_points(group=group))


def _brought(group: str, taken: Collection[str], name: str | None = None) -> dict[str, EntryPoint]:
    """The entry points of installed packages by name, all or those called `name`; nothing is imported yet."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: e.name):
        if name not in (None, entry.name):
            continue
        if entry.name in taken or entry.name in found:
            raise PluginError(f"{_who(entry, group)}: the name is taken. Give the entry point another one.")
        found[entry.name] = entry
    return found


def _load(entry: EntryPoint, group: str, kind: type[T], *, made: bool = False) -> T:
    value = load_entry(entry, group)
    if made and isinstance(value, type):
        value = _called(value, entry, group)
    if not isinstance(value, kind):
        raise PluginError(
            f"{_who(entry, group)}: {entry.value} is {type(value).__name__}; expected a {kind.__module__}."
            f"{kind.__qualname__}."
        )
    own = getattr(value, "name", entry.name)
    if own != entry.name:
        raise PluginError(
            f"{_who(entry, group)}: {entry.value} calls itself {own!r}; expected the entry point's name. Make the "
            "two equal."
        )
    return value


def load_entry(entry: EntryPoint, group: str) -> Any:
    """The object of an entry point; raises PluginError where it cannot be imported."""
    return _called(entry.load, entry, group)


def _called(call: Callable[[], Any], entry: EntryPoint, group: str) -> Any:
    try:
        return call()
    except Exception as error:  # it is the package's own code
        raise PluginError(
            f"{_who(entry, group)}: {entry.value} cannot be imported ({type(error).__name__}: {error}). Mend or "
            "uninstall the package."
        ) from error


def _who(entry: EntryPoint, group: str) -> str:
    package = entry.dist.name if entry.dist is not None else "an installed package"
    return f"{package}: entry point {entry.name!r} in {group!r}"
