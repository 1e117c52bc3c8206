"""Networks by name, without their classifiers, and their blocks."""

from featcache.backbones.backbone import Backbone, JoinedBackbone, run_network
from featcache.backbones.backbone_memo import describe_backbone
from featcache.backbones.batchnorm_folding import fold_batch_norms
from featcache.backbones.checkpoint_path import names_file
from featcache.backbones.configured_network import is_configured, read_network
from featcache.backbones.factory import (
    STAND_IN,
    list_blocks,
    load_backbone,
    load_model,
    load_parts,
    make_backbone,
    rebuild_backbone,
)
from featcache.backbones.freezing import first_trained_by_step, set_model_freeze, train_from
from featcache.backbones.gradient_checkpointing import checkpointed_modules, gradients_checkpointed
from featcache.backbones.half_weights import narrow_weights
from featcache.backbones.model_with_head import IMAGE_NORMALISATIONS, Model, build_head, put_in_front, resolve_dims
from featcache.backbones.module_tensors import put_weights
from featcache.backbones.name_catalogue import catalogue
from featcache.backbones.network_blocks import Block, blocks
from featcache.backbones.network_split import Split, split
from featcache.backbones.source_lookup import find_source, sources
from featcache.backbones.weights import describe

__all__ = [
    "IMAGE_NORMALISATIONS",
    "STAND_IN",
    "Backbone",
    "Block",
    "JoinedBackbone",
    "Model",
    "Split",
    "blocks",
    "build_head",
    "catalogue",
    "checkpointed_modules",
    "describe",
    "describe_backbone",
    "find_source",
    "first_trained_by_step",
    "fold_batch_norms",
    "gradients_checkpointed",
    "is_configured",
    "list_blocks",
    "load_backbone",
    "load_model",
    "load_parts",
    "make_backbone",
    "names_file",
    "narrow_weights",
    "put_in_front",
    "put_weights",
    "read_network",
    "rebuild_backbone",
    "resolve_dims",
    "run_network",
    "set_model_freeze",
    "sources",
    "split",
    "train_from",
]
