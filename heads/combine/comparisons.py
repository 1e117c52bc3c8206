"""What combining brings: the average beside its best member, and beside the plain average, image by image."""

from __future__ import annotations

from typing import Any

from featcache.statistics import JointComparison
from heads.combine.combination import Answered, Combination
from heads.combine.members import SPLITS, Member
from heads.runs import split_scores

COMPARED = ("top1", "balanced_accuracy")


def best_member(combination: Combination) -> Member:
    """The one that is best on val by top-1, then by the lower loss."""

    def order(one: Member) -> tuple[float, float]:
        val = one.run.summary["val"]
        return -val["top1"]["mean"], val["loss"]["mean"]

    return min(combination.members, key=order)


def differences(combination: Combination) -> dict[str, Any]:
    """By what it is compared with, split and metric: by how much it is ahead, with the 95% interval, which is paired:
    of the same images."""
    best = best_member(combination)
    others = {
        "best_member": {split: Answered(best.answers[split]) for split in SPLITS},
        "plain_average": combination.plain,
    }
    return {
        name: {
            split: {m: paired_difference(combination.answered[split], other[split], m) for m in COMPARED}
            for split in SPLITS
        }
        for name, other in others.items()
    }


def paired_difference(one: Answered, other: Answered, metric: str) -> dict[str, float]:
    """By how much one is ahead of another in a metric, with the 95% interval: of the same images."""
    scores = [split_scores(of.seen, of.outcomes, metric) for of in (one, other)]
    compared = JointComparison({metric: scores})
    low, high = compared.interval(metric, 0, 1)
    return {"mean": compared.difference(metric, 0, 1), "low": low, "high": high}
