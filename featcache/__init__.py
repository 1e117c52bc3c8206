"""featcache: which pretrained backbone separates your image classes best, and at what latency?

Names are imported on first use, so that the command line answers before torch is loaded.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from featcache.backbones import blocks, load_backbone, load_model, set_model_freeze
    from featcache.errors import FeatcacheError
    from featcache.extraction import check, extract
    from featcache.options import Options, load_base_config, load_options
    from featcache.records import Preprocessing
    from heads.runs import load_run

# Notices of ordinary progress reach a run's log.txt; handlers decide what reaches the screen.
logging.getLogger("featcache").setLevel(logging.INFO)

_HOMES = {
    "FeatcacheError": "featcache.errors",
    "Options": "featcache.options",
    "Preprocessing": "featcache.records",
    "blocks": "featcache.backbones",
    "check": "featcache.extraction",
    "extract": "featcache.extraction",
    "load_backbone": "featcache.backbones",
    "load_base_config": "featcache.options",
    "load_model": "featcache.backbones",
    "load_options": "featcache.options",
    "load_run": "heads.runs",
    "set_model_freeze": "featcache.backbones",
}

__all__ = [
    "FeatcacheError",
    "Options",
    "Preprocessing",
    "blocks",
    "check",
    "extract",
    "load_backbone",
    "load_base_config",
    "load_model",
    "load_options",
    "load_run",
    "set_model_freeze",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'featcache' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
