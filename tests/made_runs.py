"""Finished runs made by hand, each right on images that a test chooses: for what compares runs, without training."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featcache.separability.measures import MEASURES
from heads.runs.predictions import Predictions, Probe, save_predictions
from heads.runs.split_figures import split_figures
from heads.training.metrics import TOP_K, outcome

CLASSES = 4
EVERY = range(100)  # the val images, and the training images that are probed


def save_run(
    results: Path,
    name: str,
    *heads: Iterable[int],
    top3: Iterable[int] = EVERY,
    probe: Iterable[int] | None = None,
    backbone: str | None = None,
    weights: str = "W",
    phase: int = 1,
    latency_ms: float = 2.0,
    device: str = "a test's device",
    data: str = "d",
    store: str | None = None,
    source: str = "timm",
    fell_back: bool = False,
    **measures: float,
) -> Path:
    """A run of a head (seed) for each of `heads`, the images of 100 that it gets right; `top3` by every head, at least.

    `probe` holds the training images of 100 that its linear probe gets right; `measures` may name the others. Without
    both it has no separability.
    """
    folder = results / name
    folder.mkdir(parents=True)
    logits = np.zeros((len(heads), len(EVERY), CLASSES), np.float32)  # of images that are all of class 0
    logits += np.arange(CLASSES, dtype=np.float32)  # not among the first three
    for head, right in enumerate(heads):
        logits[head, list(top3), 0] = CLASSES - TOP_K + 0.5
        logits[head, list(right), 0] = CLASSES
    val = Predictions(logits, np.zeros(len(EVERY), np.int64), tuple(f"val/{i}.png" for i in EVERY))
    outcomes = [outcome(torch.from_numpy(one), torch.from_numpy(val.labels)) for one in logits]
    figures = split_figures(val, outcomes)
    probed = None
    if probe is not None:
        probed = Probe(np.isin(EVERY, list(probe)), tuple(f"train/{i}.png" for i in EVERY))
        measures["linear_probe"] = float(probed.right.mean())
    summary: dict[str, Any] = {
        **{"backbone": backbone or name, "weights": weights, "weights_fell_back": fell_back, "features": 10},
        "source": source,
        **{"phase": phase, "from_run": None, "from_inputs": None, "best_epoch": 0},
        **{"val": figures, "test": figures, "data": {"fingerprint": data}, "leakage": {}},
        "stores": [store or f"{backbone or name}-{weights}.h5"],
        "cache_dir": str(results / "cache"),
        "per_class": {"val": [{"class": "a", "recall": 1.0, "n": 50}, {"class": "b", "recall": 1.0, "n": 50}]},
        "classes": ["a", "b", "c", "d"],
        "separability": {**dict.fromkeys(MEASURES), "n": len(EVERY), **measures} if measures else None,
    }
    performance = {
        **{"latency_ms": {"mean": latency_ms, "p95": latency_ms + 1, "batch_size": 1}, "macs": 5},
        **{"device": device, "precision": "float32", "params_backbone": 7, "params_head": 4},
        **{"images_per_second": 9.0, "head_seconds": 1.0},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "performance.json").write_text(json.dumps(performance))
    save_predictions(folder / "predictions.npz", {"val": val}, {"probe": probed} if probed is not None else {})
    return folder
