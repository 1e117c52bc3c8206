"""The rooms of both packages and who imports whom, from the contracts in pyproject.toml and the code."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("featcache", "heads")  # stage one, stage two
APP = "featcache.app"  # above both

Import = tuple[str, str]  # importer, imported


@dataclass(frozen=True)
class Room:
    """A package or a lone module just below `featcache` or `heads`."""

    name: str  # featcache.store
    label: str  # store/ or atomic.py
    purpose: str  # the first line of its docstring


@dataclass(frozen=True)
class House:
    """Both packages: rooms by name, each stage's layers from the top down, and imports between rooms."""

    rooms: dict[str, Room]
    layers: dict[str, tuple[tuple[str, ...], ...]]
    imports: frozenset[Import]

    def within(self, stage: str) -> frozenset[Import]:
        """Imports between the rooms of a stage, and those of the command line from it."""
        inside = {name for name in self.rooms if name.startswith(f"{stage}.")}
        return frozenset((a, b) for a, b in self.imports if b in inside and a in inside | {APP})

    def between(self) -> frozenset[Import]:
        """Imports of stage two from stage one."""
        one, two = STAGES
        return frozenset((a, b) for a, b in self.imports if a.startswith(f"{two}.") and b.startswith(f"{one}."))


def read_house() -> House:
    """The house as it stands."""
    layers = _layers()
    rooms = {name: _room(name) for rows in layers.values() for row in rows for name in row}
    graph = grimp.build_graph(*STAGES, exclude_type_checking_imports=True, cache_dir=None)
    imports = {
        (_room_of(module), _room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return House(rooms, layers, frozenset((a, b) for a, b in imports if a != b and {a, b} <= rooms.keys()))


def reduced(imports: Iterable[Import]) -> set[Import]:
    """The imports that do not follow from others: the rest are chains of these (transitive reduction)."""
    direct: dict[str, set[str]] = defaultdict(set)
    for importer, imported in imports:
        direct[importer].add(imported)
    below = {room: _reached(room, direct) for room in [*direct]}
    return {
        (a, b) for a, them in direct.items() for b in them if not any(b in below.get(c, ()) for c in them if c != b)
    }


def _reached(room: str, direct: dict[str, set[str]]) -> Set[str]:
    found: set[str] = set()
    waiting = [room]
    while waiting:
        new = direct.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def _layers() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Of each stage, from its `layers` contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        stage: tuple(
            tuple(f"{stage}.{name.strip()}" for name in layer.replace(":", "|").split("|"))
            for layer in contract["layers"]
        )
        for contract in contracts
        if contract["type"] == "layers"
        for stage in contract["containers"]
    }


def _room(name: str) -> Room:
    place = ROOT / name.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    purpose = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
    return Room(name, f"{place.name}/" if place.is_dir() else file.name, purpose)


def _room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])
