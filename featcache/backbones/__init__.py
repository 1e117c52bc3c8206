"""Networks by name, without their classifiers."""

from featcache.backbones.factory import (
    describe_backbone,
    find_source,
    load_backbone,
    load_model,
    load_parts,
    sources,
)
from featcache.backbones.model import Backbone, JoinedBackbone, Model, build_head, resolve_dims

__all__ = [
    "Backbone",
    "JoinedBackbone",
    "Model",
    "build_head",
    "describe_backbone",
    "find_source",
    "load_backbone",
    "load_model",
    "load_parts",
    "resolve_dims",
    "sources",
]
