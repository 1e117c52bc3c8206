"""Networks by name, without their classifiers, and their blocks."""

from featcache.backbones.blocks import Block, blocks, set_model_freeze, train_from
from featcache.backbones.factory import (
    describe_backbone,
    find_source,
    list_blocks,
    load_backbone,
    load_model,
    load_parts,
    rebuild_backbone,
    sources,
)
from featcache.backbones.model import Backbone, JoinedBackbone, Model, build_head, resolve_dims

__all__ = [
    "Backbone",
    "Block",
    "JoinedBackbone",
    "Model",
    "blocks",
    "build_head",
    "describe_backbone",
    "find_source",
    "list_blocks",
    "load_backbone",
    "load_model",
    "load_parts",
    "rebuild_backbone",
    "resolve_dims",
    "set_model_freeze",
    "sources",
    "train_from",
]
