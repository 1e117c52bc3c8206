"""A network with a file's weights in, why they may mean something else than they load as out, in words.

Architectures can share every name and shape and still compute otherwise: other padding, another scaling of the images.
Their weights load into each other without complaint and score worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from featcache.backbones.batchnorm_evidence import doubt_scaling, padded_better
from featcache.backbones.classifier_removal import FeaturesThenPool
from featcache.backbones.inert_unpickling import Inert
from featcache.backbones.libraries import LIBRARIES
from featcache.errors import FeatcacheError
from featcache.records import Preprocessing

# Where training scripts note the architecture, beside the weights and in what stands for their options.
NAME_FIELDS = frozenset({"arch", "architecture", "model", "model_name", "backbone", "net", "name", "encoder"})
SETTINGS_FIELDS = frozenset({"args", "hyper_parameters", "hparams", "config", "cfg", "opt", "options", "meta", "model"})
MAX_DEPTH = 3
TWIN_PREFIX = "tf_"  # timm's ports of TensorFlow's networks: the same tensors, padded otherwise


def doubts(trunk: nn.Module, name: str, preprocessing: Preprocessing, beside: Mapping[str, Any]) -> list[str]:
    """What speaks against the weights in `trunk` being those of the network `name` on images scaled so.

    `beside` are the settings in the file. Each doubt is a clause for the log; none is proof.
    """
    architecture = name.partition(".")[0]
    found = []
    known = _known_names()
    recorded = sorted({known[_bare(n)] for n in _recorded_names(beside, 0) if _bare(n) in known})
    if _bare(architecture) in known and recorded and _bare(architecture) not in map(_bare, recorded):
        found.append(f"the file notes {' and '.join(recorded)} as what it holds")
    suited = preprocessing
    if (scaling := doubt_scaling(trunk, preprocessing)) is not None:
        suited = scaling.applied_to(preprocessing)
        mean, std = (", ".join(f"{v:g}" for v in values) for values in (preprocessing.mean, preprocessing.std))
        found.append(
            f"they were trained on images scaled otherwise (with mean {mean} and std {std} the first batch norm is "
            f"given {scaling.ratio:.2g} times the variance that it knows; {scaling.better} would suit it)"
        )
    twin = _twin(architecture)
    if twin is not None and (other := _same_tensors(trunk, twin)) is not None and padded_better(trunk, other, suited):
        found.append(f"they were trained with other padding ({twin} has the same tensors, and its padding suits them)")
    return found


def _recorded_names(value: Any, depth: int) -> Iterator[str]:
    fields = value.fields if isinstance(value, Inert) else value
    if not isinstance(fields, Mapping) or depth > MAX_DEPTH:
        return
    for key, inner in fields.items():
        word = str(key).lower()
        if isinstance(inner, str) and word in NAME_FIELDS:
            yield inner
        elif word in SETTINGS_FIELDS:
            yield from _recorded_names(inner, depth + 1)


def _bare(name: str) -> str:
    """A name without what people spell differently."""
    return re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].partition(".")[0].lower())


@cache
def _known_names() -> dict[str, str]:
    """The libraries' architectures by their bare names."""
    return {_bare(name): name for library in LIBRARIES.values() for name in library().names()}


def _twin(architecture: str) -> str | None:
    name = (
        architecture.removeprefix(TWIN_PREFIX) if architecture.startswith(TWIN_PREFIX) else TWIN_PREFIX + architecture
    )
    return name if LIBRARIES["timm"]().has(name) else None


def _same_tensors(trunk: nn.Module, twin: str) -> nn.Module | None:
    """The network `twin` with the tensors in `trunk`; None where they are not its own."""
    if not isinstance(trunk, FeaturesThenPool):
        return None
    with torch.random.fork_rng(devices=[]):
        try:
            network, _ = LIBRARIES["timm"]().build(twin, None, None, None)
        except FeatcacheError:
            return None
    network.reset_classifier(0)  # type: ignore[operator]  # timm's own method
    own, tensors = network.state_dict(), trunk.network.state_dict()
    if own.keys() != tensors.keys() or any(own[k].shape != v.shape for k, v in tensors.items()):
        return None
    network.load_state_dict(tensors)
    return FeaturesThenPool(network.eval(), trunk.pool)
