"""Val and test images whose copy was there in training: who they are, and accuracies with and without them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from featcache.audit import exact_leaks
from featcache.records import Manifest, Split
from heads.runs.predictions import Predictions
from heads.runs.run import Run
from heads.training import TOP_K, in_top_k

log = logging.getLogger("featcache")


def leakage_line(leakage: Mapping[str, Mapping[str, Any]]) -> str:
    """How many images of each split leaked, and what they do to its accuracy; "" where there are none."""
    parts = []
    for split, one in leakage.items():
        if one["leaked"]:
            without = "none left" if one["top1_without"] is None else f"{one['top1_without']:.4f}"
            parts.append(
                f"{one['leaked']} of {one['leaked'] + one['n_without']} {split} images (top-1 {one['top1']:.4f} with "
                f"them, {without} without)"
            )
    if not parts:
        return ""
    return (
        f"leaked, with an exact copy where they were trained on or chosen by: {', '.join(parts)}. `featcache audit` "
        "looks closer and lists what to leave out"
    )


def warn_of_leakage(run: Run) -> None:
    """Say so, where a run was judged by images that it had seen. A command of many runs says it of the first."""
    if line := leakage_line(run.summary["leakage"]):
        once = f"leaked images of the data {run.summary['data']['fingerprint']}"
        log.warning("%s: %s", run.summary["backbone"], line, extra={"once": once})


def leaks_of(manifest: Manifest, folds: int | None) -> dict[Split, frozenset[str]]:
    """The names of the val and test images that are byte for byte in a split trained on or chosen by.

    Folds keep copies together, so that no image of the pool is judged by a head that saw its copy.
    """
    leaks = exact_leaks(manifest)
    return {**leaks, "val": frozenset()} if folds else leaks


def leakage(splits: Mapping[Split, Predictions], leaks: Mapping[Split, frozenset[str]]) -> dict[str, dict[str, Any]]:
    """By split: how many images leaked, top-1 and top-3 with them (mean over heads), `n` and the same without them.

    The accuracies without are None where nothing is left.
    """
    found: dict[str, dict[str, Any]] = {}
    for split, seen in splits.items():
        kept = np.array([name not in leaks[split] for name in seen.images], dtype=np.bool_)
        logits, labels = torch.from_numpy(seen.logits), torch.from_numpy(seen.labels)
        right = {k: in_top_k(logits, labels.expand(logits.shape[:-1]), k).numpy() for k in (1, TOP_K)}
        found[split] = {
            "leaked": int((~kept).sum()),
            "top1": float(right[1].mean()),
            "top3": float(right[TOP_K].mean()),
            "n_without": int(kept.sum()),
            "top1_without": float(right[1][:, kept].mean()) if kept.any() else None,
            "top3_without": float(right[TOP_K][:, kept].mean()) if kept.any() else None,
        }
    return found
