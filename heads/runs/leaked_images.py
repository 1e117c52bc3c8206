"""Val and test images whose copy or relative was there in training: who they are, and accuracies with and without."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from featcache.audit import exact_leaks, leaks
from featcache.counted_nouns import counted
from featcache.records import Manifest, Split
from featcache.relatives import has_groups, relatives, shown
from heads.runs.predictions import Predictions
from heads.runs.run import Run
from heads.training import TOP_K, in_top_k

log = logging.getLogger("featcache")


def leakage_line(leakage: Mapping[str, Mapping[str, Any]]) -> str:
    """How many images of each split leaked, and what they do to its accuracy; "" where there are none."""
    if not (parts := _with_and_without(leakage)):
        return ""
    return (
        f"leaked, with an exact copy where they were trained on or chosen by: {parts}. `featcache audit` looks closer "
        "and lists what to leave out"
    )


def group_leakage_line(leakage: Mapping[str, Mapping[str, Any]] | None) -> str:
    """The same of images whose group was there; "" where there are none, or no groups were given."""
    if leakage is None or not (parts := _with_and_without(leakage)):
        return ""
    example = next((f", such as {one['example']}" for one in leakage.values() if one["example"]), "")
    return (
        f"of a group (data.groups) that was trained on or chosen by: {parts}{example}. Move whole groups to "
        "one split, or have val and test cut from train by leaving their folders out"
    )


def _with_and_without(leakage: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for split, one in leakage.items():
        if one["leaked"]:
            without = "none left" if one["top1_without"] is None else f"{one['top1_without']:.4f}"
            parts.append(
                f"{one['leaked']} of {counted(one['leaked'] + one['n_without'], f'{split} image')} (top-1 "
                f"{one['top1']:.4f} with them, {without} without)"
            )
    return ", ".join(parts)


def leakage_lines(summary: Mapping[str, Any]) -> dict[str, str]:
    """What is to be said of a run's leaked images and leaked groups; only what there is."""
    groups = summary.get("group_leakage")  # earlier versions knew none
    lines = {"leaked images": leakage_line(summary["leakage"]), "leaked groups": group_leakage_line(groups)}
    return {what: line for what, line in lines.items() if line}


def warn_of_leakage(run: Run) -> None:
    """Say so, where a run was judged by images that it had seen. A command of many runs says it of the first."""
    for what, line in leakage_lines(run.summary).items():
        once = f"{what} of the data {run.summary['data']['fingerprint']}"
        log.warning("%s: %s", run.summary["backbone"], line, extra={"once": once})


def leaks_of(manifest: Manifest, folds: int | None) -> dict[Split, frozenset[str]]:
    """The names of the val and test images that are byte for byte in a split trained on or chosen by.

    Folds keep copies together, so that no image of the pool is judged by a head that saw its copy.
    """
    found = exact_leaks(manifest)
    return {**found, "val": frozenset()} if folds else found


def group_leakage(
    manifest: Manifest, folds: int | None, splits: Mapping[Split, Predictions]
) -> dict[str, dict[str, Any]] | None:
    """`leakage` by images whose relatives (`data.groups`, and equal contents) are in a split trained on or chosen by.

    With it the number of their `groups`, and one of them as an `example`. None where no image has a group.
    """
    if not has_groups(manifest.images):
        return None
    numbers = relatives(manifest.images).tolist()
    leaked = leaks(manifest, numbers)
    if folds:  # they keep relatives together
        leaked["val"] = frozenset()
    found = leakage(splits, leaked)
    for split in splits:
        one = found[split]
        inside = [(i, n) for i, n in zip(manifest.images, numbers, strict=True) if i.name in leaked[split]]
        one["groups"] = len({n for _, n in inside})
        # A copy may be of no group itself, and so is no good example.
        one["example"] = min((f"{i.name} of {shown(i.group)}" for i, _ in inside if i.group is not None), default="")
    return found


def with_contents(leaks: Mapping[Split, frozenset[str]], contents: Mapping[str, str]) -> dict[Split, frozenset[str]]:
    """The names `leaks`, and beside them the hashes that `contents` has of them, by which runs know the images too that
    are on another source of the same: of copies in a split all leak or none."""
    return {split: names | {contents[name] for name in names if name in contents} for split, names in leaks.items()}


def leakage(splits: Mapping[Split, Predictions], leaks: Mapping[Split, frozenset[str]]) -> dict[str, dict[str, Any]]:
    """By split: how many images leaked (`leaks` has their names or content hashes), top-1 and top-3 with them (mean
    over heads), `n` and the same without them.

    The accuracies without are None where nothing is left.
    """
    found: dict[str, dict[str, Any]] = {}
    for split, seen in splits.items():
        known = zip(seen.images, seen.contents or seen.images, strict=True)
        kept = np.array([leaks[split].isdisjoint(image) for image in known], dtype=np.bool_)
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
