"""Networks by name, without their classifiers."""

from featcache.backbones.factory import describe_backbone, find_source, load_backbone, load_model, sources
from featcache.backbones.model import Backbone, Model, build_head, resolve_dims

__all__ = [
    "Backbone",
    "Model",
    "build_head",
    "describe_backbone",
    "find_source",
    "load_backbone",
    "load_model",
    "resolve_dims",
    "sources",
]
