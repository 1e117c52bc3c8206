"""Any network in, its stages out, by one rule that looks at its modules alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from torch import nn
from torch.nn.modules.conv import _ConvNd

from featcache.backbones.stage import LETTERED, STEM, Stage

MOST = 0.9  # a child with this share of a network's parameters is the network: its children are looked at instead


@dataclass(frozen=True)
class Unit:
    """A module that is not divided, with the names of its parameters; many have none."""

    name: str
    module: nn.Module
    parameters: tuple[str, ...]

    @cached_property
    def layers(self) -> int:
        """Convolutions and linear layers inside."""
        return sum(isinstance(m, _ConvNd | nn.Linear) for m in self.module.modules())

    @property
    def is_composite(self) -> bool:
        """Whether it is more than one layer with its norm and activation."""
        return self.layers > 1

    @cached_property
    def is_stage(self) -> bool:
        """Whether it is a list of composite units, or has one for a child."""
        return _lists_composites(self.module) or any(_lists_composites(m) for m in self.module.children())

    @cached_property
    def ends_in_pooling(self) -> bool:
        """Whether it pools after its last weights."""
        leaves = [m for m in self.module.modules() if not any(True for _ in m.children())]
        behind = max((k + 1 for k, m in enumerate(leaves) if any(True for _ in m.parameters())), default=0)
        return any("pool" in type(m).__name__.lower() for m in leaves[behind:])

    @cached_property
    def channels(self) -> int | None:
        """Output channels of its last convolution."""
        widths = [m.out_channels for m in self.module.modules() if isinstance(m, _ConvNd)]
        return widths[-1] if widths else None


def _lists_composites(module: nn.Module) -> bool:
    if not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    units = [Unit("", m, ()) for m in module.children() if any(True for _ in m.parameters())]
    return bool(units) and all(u.is_composite for u in units)


def stages_by_rule(network: nn.Module, sizes: dict[str, int]) -> list[Stage]:
    """The stages in order of execution; `sizes` has the elements of every parameter that counts."""
    units = _units(network, sizes)
    stem: list[Unit] = []
    if any(u.is_composite and u.parameters for u in units):
        stem, groups = _grouped(units)
    else:
        groups = _between_poolings([u for u in units if u.parameters or u.ends_in_pooling])
    inside = {name for unit in units for name in unit.parameters}
    raw = [name for name in sizes if name not in inside]  # class tokens, position embeddings: they are added first
    first = raw + [name for unit in stem for name in unit.parameters]
    rest = [Stage(_name(group), tuple(n for u in group for n in u.parameters)) for group in groups]
    if not rest or stem or (raw and any(u.is_composite for u in groups[0])):
        return [Stage(STEM, tuple(first)), *rest] if first else rest
    return [Stage(rest[0].name, (*first, *rest[0].parameters)), *rest[1:]]


def _units(network: nn.Module, sizes: dict[str, int]) -> list[Unit]:
    """The network's children, a child that is nearly all of it replaced by its own."""
    units = _children(network, "", sizes)
    most = MOST * sum(sizes.values())
    while True:
        large = [k for k, u in enumerate(units) if sum(sizes[n] for n in u.parameters) >= most and most > 0]
        inner = _children(units[large[0]].module, units[large[0]].name + ".", sizes) if large else []
        if not any(u.parameters for u in inner):
            return units
        units[large[0] : large[0] + 1] = inner


def _children(module: nn.Module, prefix: str, sizes: dict[str, int]) -> list[Unit]:
    """Its children, without those whose parameters are all the classifier's."""
    every = [
        Unit(prefix + name, child, tuple(n for n in sizes if n.startswith(f"{prefix}{name}.")))
        for name, child in module.named_children()
    ]
    return [u for u in every if u.parameters or not any(True for _ in u.module.parameters())]


def _grouped(units: Sequence[Unit]) -> tuple[list[Unit], list[list[Unit]]]:
    """What stands before the first composite unit, and the composite units in groups, simple ones with them."""
    keys = _keys(units)
    stem: list[Unit] = []
    groups: list[list[Unit]] = []
    waiting: list[Unit] = []  # downsampling layers: they begin the stage that follows
    last: object = None
    for unit in (u for u in units if u.parameters):
        if unit.name not in keys:
            place = stem if not groups else groups[-1] if unit.ends_in_pooling else waiting
            place.append(unit)
            continue
        if not groups or keys[unit.name] != last:
            groups.append([])
        groups[-1] += [*waiting, unit]
        waiting = []
        last = keys[unit.name]
    groups[-1] += waiting
    return stem, groups


def _keys(units: Sequence[Unit]) -> dict[str, object]:
    """What neighbouring composite units must share to stand in one group; units of the stem have no key."""
    composite = [u for u in units if u.is_composite and u.parameters]
    if composite[0] is next(u for u in units if u.parameters) and any(u.is_stage for u in composite[1:]):
        composite = composite if composite[0].is_stage else composite[1:]  # a stem of several convolutions
    flat = [u for u in composite if not u.is_stage]
    pooled = _poolings_before(units)
    if all(LETTERED.match(u.name) for u in flat):
        shared: dict[str, object] = {u.name: u.name[:-1] for u in flat}
    elif len({pooled[u.name] for u in flat}) > 1:
        shared = {u.name: pooled[u.name] for u in flat}
    else:
        shared = {u.name: u.name if u.channels is None else u.channels for u in flat}
    return {u.name: shared.get(u.name, u.name) for u in composite}


def _poolings_before(units: Iterable[Unit]) -> dict[str, int]:
    count, before = 0, {}
    for unit in units:
        before[unit.name] = count
        count += unit.ends_in_pooling
    return before


def _between_poolings(units: Sequence[Unit]) -> list[list[Unit]]:
    """Simple units in groups with a pooling between; where there is none, every layer with what follows it."""
    parameterised = [u for u in units if u.parameters]
    place = _poolings_before(units)
    if len({place[u.name] for u in parameterised}) == 1:
        layers = 0
        for unit in parameterised:
            layers += unit.layers
            place[unit.name] = max(layers, 1)
    return [list(group) for _, group in groupby(parameterised, key=lambda u: place[u.name])]


def _name(group: Sequence[Unit]) -> str:
    main = [u for u in group if u.is_composite] or [u for u in group if u.layers] or list(group)
    first, last = main[0].name, main[-1].name
    if first == last:
        return first
    if LETTERED.match(first) and LETTERED.match(last) and first[:-1] == last[:-1]:
        return first[:-1]
    return f"{first}-{last.rpartition('.')[2]}"
