"""Finished runs made by hand that answer val and test as a test says: for what reads answers, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heads.runs.predictions import Predictions, save_predictions
from heads.runs.split_figures import split_figures
from heads.training.metrics import outcome

CLASSES = ("a", "b", "c")


def labels_of(count: int) -> NDArray[np.int64]:
    """Of so many images, each class in turn."""
    return np.arange(count) % len(CLASSES)


def sure(labels: NDArray[np.int64], wrong: NDArray[np.bool_], by: float = 4.0) -> NDArray[np.float32]:
    """Logits `[N, C]` of a head that is sure of every image, and `wrong` about some."""
    said = np.where(wrong, (labels + 1) % len(CLASSES), labels)
    return (by * np.eye(len(CLASSES))[said]).astype(np.float32)


def answering_run(
    results: Path,
    name: str,
    val: NDArray[np.float32],
    test: NDArray[np.float32],
    *,
    labels: NDArray[np.int64] | None = None,
    images: tuple[str, ...] | None = None,
    groups: NDArray[np.int64] | None = None,
    store: str | None = None,
    data: str = "d",
    classes: tuple[str, ...] = CLASSES,
    phase: int = 1,
    batch_size: int = 1,
    threads: int = 1,
    calibrated: bool = False,
) -> Path:
    """A run whose seeds gave logits `[S, N, C]` on val and `[S, M, C]` on test (or `[N, C]`, of one seed); its own
    temperature is 1 unless it is to be `calibrated`."""
    folder = results / name
    folder.mkdir(parents=True, exist_ok=True)
    val, test = (one if one.ndim == 3 else one[None] for one in (val, test))
    named = images or tuple(f"val/{i}.png" for i in range(val.shape[1]))
    seen = {
        "val": Predictions(val, labels_of(val.shape[1]) if labels is None else labels, named, groups),
        "test": Predictions(test, labels_of(test.shape[1]), tuple(f"test/{i}.png" for i in range(test.shape[1]))),
    }
    figures = {
        split: split_figures(p, [outcome(torch.from_numpy(one), torch.from_numpy(p.labels)) for one in p.logits])
        for split, p in seen.items()
    }
    summary: dict[str, Any] = {
        **{"backbone": name, "source": "timm", "weights": "W", "weights_fell_back": False, "features": 10},
        **{"phase": phase, "from_run": None, "from_inputs": None, "best_epoch": 3, "best_seed": 0, "best_fold": None},
        **{"seeds": [{"seed": s} for s in range(len(val))], "selection_metric": "val_top1", "classes": list(classes)},
        **{"data": {"fingerprint": data, "path": f"/{data}", "folds": None, "bad": []}, "leakage": {}},
        **figures,
        **{"stores": [store or f"{name}.h5"], "cache_dir": str(results / "cache"), "separability": None},
        **{"classifier_dims": [10, 4, 3], "inputs": {"options": name, "data": data}, "stages": []},
    }
    if not calibrated:
        of_one = {"images": val.shape[1], "loss": 1.0, "calibrated_loss": 1.0}
        summary["calibration"] = {"temperature": 1.0, **of_one}

    def passes(mean: float) -> dict[str, float]:
        spread = {"std": 0.3, "p50": mean, "p95": mean + 1, "p99": mean + 2}
        return {"mean": mean, **spread, "iterations": 10, "warmup": 1, "batch_size": batch_size}

    performance = {
        **{"device": "a test's device", "precision": "float32", "threads": threads, "throughput_batch_size": 32},
        **{"latency_ms": passes(5.0), "backbone_ms": passes(4.0), "head_ms": passes(1.0)},
        **{"images_per_second": 100.0, "macs": 1052, "params_backbone": 700, "params_head": 59, "head_seconds": 2.0},
        **{"peak_memory_bytes": 9, "peak_memory_kind": "resident", "busy": False},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "performance.json").write_text(json.dumps(performance))
    (folder / "options.json").write_text(json.dumps({"experiment_name": name, "data": {"path": f"/{data}"}}))
    (folder / "best_model.pth").write_bytes(name.encode())
    save_predictions(folder / "predictions.npz", seen)  # type: ignore[arg-type]
    return folder
