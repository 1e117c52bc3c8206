"""The latency of a run as deployed, as `featcache profile` kept it: of its exports, and of ways to run it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = "export/*/performance_onnx.json"
WAYS = "performance_deployed.json"  # in the run's folder, which `heads.export` writes; nothing here imports it


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
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


@dataclass(frozen=True)
class DeployedWays:
    """How a run's network took in PyTorch, on one device, at one batch: as it is, and the fastest way."""

    device: str
    images: int
    plain_ms: float
    fastest_ms: float
    fastest: str  # bfloat16, channels-last
    difference: float  # of the fastest's logits, as a fraction of the largest
    joules: float | None  # of an image, where the card was read
    throttled: bool  # the card, in any way at this batch

    def said(self) -> str:
        """For people."""
        energy = "" if self.joules is None else f", {self.joules:.3g} J an image"
        throttled = "; the card throttled" if self.throttled else ""
        return (
            f"{self.fastest_ms:.2f} ms ({self.images / self.fastest_ms * 1e3:.0f} images/s{energy}) as {self.fastest}, "
            f"logits off by {self.difference:.2g} at most; plain {self.plain_ms:.2f} ms; {self.device}{throttled}"
        )


def deployed_ways(run: Path) -> list[DeployedWays]:
    """By batch, the smallest first, those that the network took as it is; empty where nothing was timed, or its file is
    damaged."""
    try:
        record: dict[str, Any] = json.loads((run / WAYS).read_text(encoding="utf-8"))
        by_batch: dict[int, list[dict[str, Any]]] = {}
        for one in record["measurements"]:
            by_batch.setdefault(int(one["way"]["batch_size"]), []).append(one)
        plain = {n for n, every in by_batch.items() if not all(one["way"]["folded"] for one in every)}
        return [_of_batch(record["device"], n, by_batch[n]) for n in sorted(plain)]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return []


def _of_batch(device: str, images: int, every: list[dict[str, Any]]) -> DeployedWays:
    def took(one: dict[str, Any]) -> float:
        return float(one["latency_ms"]["mean"])

    best = min(every, key=took)
    return DeployedWays(
        device=str(device),
        images=images,
        plain_ms=took(next(one for one in every if not one["way"]["folded"])),
        fastest_ms=took(best),
        fastest=str(best["name"]),
        difference=float(best["difference"]),
        joules=best["joules_per_image"],
        throttled=any(one["card"] and one["card"]["throttled"] for one in every),
    )
