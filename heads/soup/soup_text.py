"""A soup in words: who is in it, what its figures are worth, whether it is more than its best member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.counted_nouns import counted

SPLITS = {"val": "validation", "test": "test"}


def sentences(soup: Mapping[str, Any], figures: Mapping[str, Any]) -> list[str]:
    """What people should know of the soup that this is the part of a summary of; `figures` are those of its splits."""
    every = (_members(soup), _one_seed(soup), _norms(soup), _corrected(soup, figures["val"]), *_ahead(soup))
    return [line for line in every if line]


def _members(soup: Mapping[str, Any]) -> str:
    taken = [one["run"] for one in soup["members"] if one["taken"]]
    left = [one["run"] for one in soup["members"] if not one["taken"]]
    if len(soup["members"]) == 1:
        return f"One run was named: the soup is {taken[0]}, as it is."
    if len(taken) == 1:
        return f"The soup is {taken[0]} as it is: with any of the others ({', '.join(left)}) it is worse on validation."
    return f"Left out, as the average is worse with them on validation: {', '.join(left)}." if left else ""


def _one_seed(soup: Mapping[str, Any]) -> str:
    several = [f"{one['run']} (of seed {one['seed']})" for one in soup["members"] if one["seeds"] > 1]
    return f"Of runs with several seeds the network that they keep takes part: {', '.join(several)}." if several else ""


def _norms(soup: Mapping[str, Any]) -> str:
    count = soup["batch_norms"]
    return f"{counted(count, 'batch norm')} got statistics anew, from the training images." if count else ""


def _corrected(soup: Mapping[str, Any], val: Mapping[str, Any]) -> str:
    if not soup["parts"]:
        return ""
    return (
        f"Who takes part was chosen on validation, where the soup has top-1 {soup['found']['top1']['mean']:.3f}. Its "
        f"figure is {val['top1']['mean']:.3f}, of {soup['parts']} parts, each answered by a soup chosen without it."
    )


def _ahead(soup: Mapping[str, Any]) -> list[str]:
    if len(soup["members"]) == 1:
        return []
    found = []
    for split, name in SPLITS.items():
        one = soup["ahead_of_best_member"][split]["top1"]
        found.append(
            f"{name.capitalize()} top-1 is {one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}] beside its best "
            f"member on validation, {soup['best_member']}."
        )
    return found
