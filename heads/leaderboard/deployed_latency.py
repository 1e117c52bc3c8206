"""The latency of a run's exports, as `featcache profile` kept it beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = "export/*/performance_onnx.json"


@dataclass(frozen=True)
class DeployedLatency:
    """The fastest export of a run that was timed."""

    mean_ms: float
    called: str  # the export's folder and the provider: onnx-int8, cpu


def deployed_latency(run: Path, images: int) -> DeployedLatency | None:
    """The fastest at batches of so many images; None where none was timed, or its file is damaged."""
    found = [one for file in sorted(run.glob(KEPT)) for one in _read(file, images)]
    return min(found, key=lambda one: one.mean_ms, default=None)


def _read(file: Path, images: int) -> list[DeployedLatency]:
    try:
        measured: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["measurements"]
        return [
            DeployedLatency(float(one["latency_ms"]["mean"]), f"{file.parent.name}, {one['provider']}")
            for one in measured
            if one["latency_ms"]["batch_size"] == images
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []
