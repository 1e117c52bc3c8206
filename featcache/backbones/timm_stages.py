"""A timm network in, the stages that it gives itself out (its `group_matcher`); None where they cannot be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace

from torch import nn

from featcache.backbones.stage import STEM, Stage

UNMATCHED = "\0"  # no parameter is called so: timm groups it with those that it has no rule for


def timm_stages(network: nn.Module, sizes: dict[str, int]) -> list[Stage] | None:
    """What timm groups together; None where it has no rule, or one that does not follow the order of execution."""
    matcher: Callable[..., object] | None = getattr(network, "group_matcher", None)
    if matcher is None:
        return None
    from timm.models import group_parameters

    names = SimpleNamespace(named_parameters=lambda: [(name, None) for name in [*sizes, UNMATCHED]])
    try:
        grouped = group_parameters(names, matcher(coarse=True))  # type: ignore[arg-type]  # it asks for names alone
    except Exception:  # whatever it trips over, the general rule does not need it
        return None
    groups = [grouped[ordinal] for ordinal in sorted(grouped)]
    unmatched = UNMATCHED in groups[-1]
    groups = [[n for n in group if n != UNMATCHED] for group in groups]
    if _mixes_layers(groups[:-1] if unmatched else groups) or sum(map(len, groups)) != len(sizes):
        return None
    rest = groups.pop() if unmatched and len(groups) > 1 else []  # final norms and convolutions follow the last block
    groups = [group for group in groups if group]
    found = [Stage(_timm_name(k, groups, sizes) if k else STEM, tuple(group)) for k, group in enumerate(groups)]
    return [*found[:-1], Stage(found[-1].name, (*found[-1].parameters, *rest))] if found else None


def _mixes_layers(groups: Sequence[Sequence[str]]) -> bool:
    """Whether a group has layers of two lists at different places: CaiT's blocks.22 and blocks_token_only.0, which run
    one after the other and not together."""
    places: dict[str, set[int]] = {}
    layers: list[set[tuple[str, str]]] = []
    for k, group in enumerate(groups):
        found = (re.match(r"([^.]+)\.(\d+)\.", name) for name in group)
        layers.append({(m[1], m[2]) for m in found if m})
        for container, _ in layers[-1]:
            places.setdefault(container, set()).add(k)
    return any(len({place for container, place in own if len(places[container]) > 1}) > 1 for own in layers)


def _timm_name(k: int, groups: Sequence[Sequence[str]], sizes: dict[str, int]) -> str:
    """The shortest name with parameters of group `k` alone, on the way down to where it has most of them; the first
    and the last such name where that is less than half of the group."""
    own = list(groups[k])
    half = sum(sizes[name] for name in own) / 2
    others = [name for other, group in enumerate(groups) if other != k for name in group]
    depth = 0
    while True:
        depth += 1
        shares: dict[str, int] = {}
        for name in own:
            prefix = ".".join(name.split(".")[:depth])
            shares[prefix] = shares.get(prefix, 0) + sizes[name]
        prefix = max(shares, key=lambda p: shares[p])
        if not any(_is_within(name, {prefix}) for name in others):
            alone = [p for p in shares if not any(_is_within(name, {p}) for name in others)]
            return prefix if shares[prefix] >= half else f"{alone[0]}-{alone[-1].rpartition('.')[2]}"
        own = [name for name in own if _is_within(name, {prefix})]


def _is_within(name: str, modules: Collection[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)
