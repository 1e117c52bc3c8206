"""How a library builds a run's network again: what its factory is called with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from featcache.backbones import Backbone, is_configured, read_network
from featcache.errors import InputError
from featcache.records import Preprocessing

# Of timm's record of a network, where it came from and what else is of its published weights alone.
OF_WEIGHTS = {"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "label_names"}
CROPPED = {"squash": "squash", "shorter": "center"}  # as timm calls them


@dataclass(frozen=True)
class LibraryRecipe:
    """What a library's factory is called with."""

    library: str
    architecture: str
    arguments: Mapping[str, Any]
    record: Mapping[str, Any] | None  # of timm: its pretrained_cfg, with the transform of the run


def recipe_of(backbone: Backbone, name: str, to: str) -> LibraryRecipe:
    """The recipe of a run's backbone that the options call `name`; raises InputError where no library builds it."""
    library = backbone.info.identity.source
    if library not in RECIPES:
        raise InputError(
            f"--to {to}: {name} is no network of timm's or torchvision's, so that nobody could build it without its "
            f"own code ({library}). --to onnx and --to torch keep the whole network in the file."
        )
    return RECIPES[library](backbone, name)


def own_network(backbone: Backbone) -> nn.Module:
    """The library's network under its own names, without its classifier: some are wrapped to stop at the pooling."""
    network = backbone.network
    pooled = type(network).__name__ == "FeaturesThenPool"
    return network.get_submodule("network") if pooled else network


def _torchvision(backbone: Backbone, name: str) -> LibraryRecipe:
    arguments: dict[str, Any] = {}
    if name in {"inception_v3", "googlenet"}:  # trained on inputs scaled otherwise; see featcache.backbones
        arguments = {"transform_input": True, "init_weights": False}
    if name.startswith("vit_"):
        arguments = {"image_size": backbone.network.image_size}
    return LibraryRecipe("torchvision", name, arguments, None)


def _timm(backbone: Backbone, name: str) -> LibraryRecipe:
    known: dict[str, Any] = dict(own_network(backbone).pretrained_cfg)  # type: ignore[arg-type]  # timm's attribute
    record = {k: v for k, v in known.items() if k not in OF_WEIGHTS and v is not None}
    architecture = record.pop("architecture")
    arguments = dict(read_network(name).arguments) if is_configured(name) else {}
    side = backbone.preprocessing.input_size
    if known.get("fixed_input_size"):
        arguments["img_size"] = side
    record |= _transform(backbone.preprocessing)
    return LibraryRecipe("timm", architecture, json.loads(json.dumps(arguments)), json.loads(json.dumps(record)))


def _transform(recipe: Preprocessing) -> dict[str, Any]:
    """The run's own transform as timm writes it."""
    side = recipe.input_size
    return {
        "input_size": [3, side, side],
        "interpolation": recipe.interpolation,
        "crop_pct": _share(side, recipe.resize_size),
        "crop_mode": CROPPED[recipe.resize_mode],
        "mean": list(recipe.mean),
        "std": list(recipe.std),
    }


def _share(side: int, resized: int) -> float:
    """`crop_pct` of which timm's transform makes this very size: it rounds side / crop_pct down."""
    share = side / resized
    return share if int(side / share) == resized else side / (resized + 0.5)


RECIPES: dict[str, Callable[[Backbone, str], LibraryRecipe]] = {"torchvision": _torchvision, "timm": _timm}
