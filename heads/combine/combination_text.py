"""A combination in words: what it gets, whether that is more than its best member, and what it costs to say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.counted_nouns import counted

SPLITS = {"val": "validation", "test": "test"}


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """What people should know of the combination that this is the summary of."""
    return [line for line in (_alone(summary), _fitted(summary), *_ahead(summary), _corrected(summary)) if line]


def _alone(summary: Mapping[str, Any]) -> str:
    members = summary["combination"]["members"]
    kept = [one["run"] for one in members if one["weight"] > 0]
    left = [one["run"] for one in members if not one["weight"]]
    if len(members) == 1:
        return f"One run was named: the combination is {kept[0]}, as it is."
    if len(kept) == 1:
        return f"{kept[0]} has all the weight: no other of {len(members)} adds to it."
    return f"Without weight, so neither run nor counted: {', '.join(left)}." if left else ""


def _fitted(summary: Mapping[str, Any]) -> str:
    one = summary["combination"]
    if not one["parts"]:
        return ""
    return (
        f"Weights were fitted on {counted(summary['val']['top1']['n'], 'validation image')}. The figures on validation "
        f"are of {one['parts']} parts, each answered by weights that were fitted without it."
    )


def _corrected(summary: Mapping[str, Any]) -> str:
    one = summary["combination"]
    if not one["parts"]:
        return ""
    found, corrected = one["found"]["top1"]["mean"], summary["val"]["top1"]
    low, high = corrected["ci95"]
    return (
        f"By weights fitted on the images that judge them, validation top-1 would be {found:.3f}; corrected for that "
        f"it is {corrected['mean']:.3f} [{low:.3f}, {high:.3f}]."
    )


def _ahead(summary: Mapping[str, Any]) -> list[str]:
    one = summary["combination"]
    if len(one["members"]) == 1:
        return []
    best = one["best_member"]
    others = {f"its best member on validation ({best})": one["ahead_of"]["best_member"]}
    if one["parts"]:
        others["the plain average"] = one["ahead_of"]["plain_average"]
    return [
        f"In top-1 on {words} it is {_compared(of[split]['top1'], other)}."
        for other, of in others.items()
        for split, words in SPLITS.items()
    ]


def _compared(difference: Mapping[str, float], other: str) -> str:
    mean, low, high = (difference[n] for n in ("mean", "low", "high"))
    if low > 0:
        return f"ahead of {other} by {mean:.3f} [{low:.3f}, {high:.3f}]"
    if high < 0:
        return f"behind {other} by {-mean:.3f} [{-high:.3f}, {-low:.3f}]"
    return f"not told apart from {other}: {mean:+z.3f} [{low:+z.3f}, {high:+z.3f}]"
