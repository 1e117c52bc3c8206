"""Networks by name, without their classifiers, and their blocks."""

from featcache.backbones.batchnorm_folding import fold_batch_norms
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
from featcache.backbones.freezing import set_model_freeze, train_from, trained_blocks
from featcache.backbones.modules import Backbone, JoinedBackbone, Model, build_head, resolve_dims, run_network
from featcache.backbones.name_catalogue import catalogue
from featcache.backbones.network_blocks import Block, blocks
from featcache.backbones.network_split import Split, split
from featcache.backbones.weights import describe, put_weights

__all__ = [
    "Backbone",
    "Block",
    "JoinedBackbone",
    "Model",
    "Split",
    "blocks",
    "build_head",
    "catalogue",
    "describe",
    "describe_backbone",
    "find_source",
    "fold_batch_norms",
    "list_blocks",
    "load_backbone",
    "load_model",
    "load_parts",
    "put_weights",
    "rebuild_backbone",
    "resolve_dims",
    "run_network",
    "set_model_freeze",
    "sources",
    "split",
    "train_from",
    "trained_blocks",
]
