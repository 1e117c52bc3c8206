"""What leaked images have to do with the figures of the best run, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.counted_nouns import are, have

SPLITS = {"test": "Of these {n} test images", "val": "Of the {n} validation images that the ranking is by"}


def leaked_text(summary: Mapping[str, Any]) -> list[str]:
    """A sentence for each split and each way that its images leaked: by copies, and by groups; none where none did.

    `summary` is the run's; what it says of test is the figure that the verdict begins with.
    """
    copies, groups = summary["leakage"], summary.get("group_leakage") or {}  # earlier versions knew no groups
    said = []
    for split, begin in SPLITS.items():
        for found, what in ((copies, _copies), (groups, _groups)):
            one = found.get(split)
            if one is not None and one["leaked"]:
                images = begin.format(n=one["leaked"] + one["n_without"])
                said.append(f"{images} {one['leaked']} {what(one['leaked'])}: {_without(one)}.")
    return said


def _copies(count: int) -> str:
    return f"{have(count)} a copy that was trained on or chosen by"


def _groups(count: int) -> str:
    return f"{are(count)} of a group (data.groups) that was trained on or chosen by"


def _without(one: Mapping[str, Any]) -> str:
    rest = one["top1_without"]
    return f"{rest:.3f} of the others are right" if rest is not None else "there are no others"
