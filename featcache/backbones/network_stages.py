"""A network in, its stages out: which parameters stand together, in order of execution.

timm's networks say so themselves; for all others there is one rule, which looks at their modules alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from featcache.backbones.stage import LETTERED, Stage
from featcache.backbones.stages_by_rule import stages_by_rule
from featcache.backbones.timm_stages import timm_stages


def stages(network: nn.Module, sizes: dict[str, int]) -> list[Stage]:
    """The stages in order of execution; `sizes` has the elements of every parameter that is not the classifier's."""
    if not sizes:
        return []
    general = stages_by_rule(network, sizes)
    timm = timm_stages(network, sizes)
    return general if timm is None or (_are_layers(timm) and _only_joins(general, timm)) else timm


def _are_layers(found: Sequence[Stage]) -> bool:
    """Whether these are single layers (timm's VGG) or the parts of a block with a letter each (its Inception)."""
    single = all(len({name.rpartition(".")[0] for name in stage.parameters}) == 1 for stage in found)
    return single or any(LETTERED.match(stage.name) for stage in found)


def _only_joins(joined: Sequence[Stage], parts: Sequence[Stage]) -> bool:
    """Whether every one of `parts` lies within one of `joined`, in the same order."""
    place = {name: k for k, stage in enumerate(joined) for name in stage.parameters}
    places = [{place[name] for name in part.parameters} for part in parts]
    first = [min(p) for p in places]
    return all(len(p) == 1 for p in places) and first == sorted(first)
