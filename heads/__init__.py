"""Stage two: heads trained on cached features, and what comes out of them.

Names are imported on first use, so that what reads finished runs need not load what trains.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heads.combine import combine_runs
    from heads.experiment import train_model, trainModel
    from heads.soup import soup_runs
    from heads.students import distill_model
    from heads.tuned_heads import tune_model

_HOMES = {
    "combine_runs": "heads.combine",
    "distill_model": "heads.students",
    "soup_runs": "heads.soup",
    "trainModel": "heads.experiment",
    "train_model": "heads.experiment",
    "tune_model": "heads.tuned_heads",
}

__all__ = ["combine_runs", "distill_model", "soup_runs", "trainModel", "train_model", "tune_model"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'heads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
