"""What a user may write: the JSON of one run, checked whole before any work.

Every default of the project lives here. All faults of a file are collected and shown at once, each with its
key and, for a misspelt key, the nearest name. `configs/options.schema.json` is generated from these classes.
"""

from featcache.options import augmentation_options
from featcache.options.adapter_options import Adapter
from featcache.options.augmentation_options import AugmentationSpec
from featcache.options.backbone_names import CONFIGURED, FOLDER, HUB, joined_names, take_apart
from featcache.options.cache_folder import cache_folder, cache_name, cache_url, is_url
from featcache.options.cache_options import CacheOptions
from featcache.options.class_options import Classes, SplitLimits, merged_names
from featcache.options.class_weight_options import require_class_names
from featcache.options.column_options import Columns
from featcache.options.data_options import DataOptions
from featcache.options.distillation_options import Distillation
from featcache.options.faults import known_keys, nearest_key
from featcache.options.group_options import GroupRule
from featcache.options.head_options import HeadOptions, Normalise
from featcache.options.json_files import or_shipped, read_json, shipped_config
from featcache.options.json_schema import options_schema
from featcache.options.known_names import OneOf, listed
from featcache.options.loading import (
    as_options,
    config_files,
    load_base_config,
    load_options,
    parse_options,
)
from featcache.options.model_options import SOURCE_PLUGINS, ModelOptions, source_names
from featcache.options.option_types import Precision, plain_name
from featcache.options.overrides import apply_overrides, put
from featcache.options.profile_options import ProfileOptions
from featcache.options.run_options import MAX_NAME, Options, require_frozen
from featcache.options.training_options import (
    LATER_TRAINING_OPTIONS,
    METRIC_PLUGINS,
    TrainingOptions,
    UnfreezeStep,
    of_heads_alone,
)

__all__ = [
    "CONFIGURED",
    "FOLDER",
    "HUB",
    "LATER_TRAINING_OPTIONS",
    "MAX_NAME",
    "METRIC_PLUGINS",
    "SOURCE_PLUGINS",
    "Adapter",
    "AugmentationSpec",
    "CacheOptions",
    "Classes",
    "Columns",
    "DataOptions",
    "Distillation",
    "GroupRule",
    "HeadOptions",
    "ModelOptions",
    "Normalise",
    "OneOf",
    "Options",
    "Precision",
    "ProfileOptions",
    "SplitLimits",
    "TrainingOptions",
    "UnfreezeStep",
    "apply_overrides",
    "as_options",
    "augmentation_options",
    "cache_folder",
    "cache_name",
    "cache_url",
    "config_files",
    "is_url",
    "joined_names",
    "known_keys",
    "listed",
    "load_base_config",
    "load_options",
    "merged_names",
    "nearest_key",
    "of_heads_alone",
    "options_schema",
    "or_shipped",
    "parse_options",
    "plain_name",
    "put",
    "read_json",
    "require_class_names",
    "require_frozen",
    "shipped_config",
    "source_names",
    "take_apart",
]
