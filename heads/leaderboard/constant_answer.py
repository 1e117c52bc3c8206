"""The best beside a head that gives every image the same answer, in words; and where a metric cannot tell the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.statistics import Corrected
from heads.runs import Run
from heads.training import find_metric

UNEVEN = 3  # times as many images as the rarest class has: then the most frequent one rules top-1


def constant_text(best: Run, by: str, corrected: Mapping[str, Corrected]) -> str:
    """A word where the best is no better on val than always saying the most frequent class: in the metric `by` that it
    was chosen by, or in top-1 where that says nothing of a constant answer; by its figure `corrected` for having been
    chosen, as far as there is one: the luckiest of many guesses seems better than a guess."""
    counts = [n for n in _counts(best.summary, "val") if n]
    gets = _constant(counts)
    metric = by if by in gets and by in best.summary["val"] and not says_nothing(best.summary, "val", by) else "top1"
    known = corrected.get(metric)
    low, high = (known.low, known.high) if known else best.summary["val"][metric]["ci95"]
    if low > gets[metric]:
        return _uneven(best.summary, by)
    word = "worse, on validation, than" if high < gets[metric] else "not told, on validation, from"
    answer = f"always saying the most frequent class, which gets {gets[metric]:.3f} {find_metric(metric).title} there"
    return f"It is {word} {answer}." if known is None else f"Corrected for having been chosen, it is {word} {answer}."


def _uneven(summary: Mapping[str, Any], by: str) -> str:
    """Where classes are so uneven that top-1 says little of the rare: what it gives away, and the mean over classes."""
    classes = [one for one in summary["per_class"]["val"] if one["n"]]
    counts = [one["n"] for one in classes]
    if max(counts) < UNEVEN * min(counts):
        return ""
    name = classes[counts.index(max(counts))]["class"]
    share = f"{max(counts) / sum(counts):.3f}{'' if by == 'top1' else ' top-1'}"
    line = f"Classes are uneven: always saying {name!r} gets {share} on validation"
    balanced = summary["test"].get("balanced_accuracy")  # runs of before there were such figures lack it
    if by != "balanced_accuracy" and balanced is not None:
        low, high = balanced["ci95"]
        line += (
            f"; as a mean over classes its heads get {balanced['mean']:z.3f} [{low:z.3f}, {high:z.3f}] of test right"
        )
        line += " (--rank-by balanced_accuracy ranks by that)"
    return line + "."


def says_nothing(summary: Mapping[str, Any], split: str, metric: str) -> bool:
    """Whether a metric is the same whatever is answered: AUROC sets a class against others, and takes two."""
    return metric == "auroc" and split in summary["per_class"] and sum(n > 0 for n in _counts(summary, split)) < 2


def _counts(summary: Mapping[str, Any], split: str) -> list[int]:
    """Images of each class."""
    return [one["n"] for one in summary["per_class"][split]]


def _constant(counts: list[int]) -> dict[str, float]:
    """What the most frequent of the classes that have images gets as the answer to all, by metric."""
    share = max(counts) / sum(counts)
    return {
        "top1": share,
        "balanced_accuracy": 1 / len(counts),
        "macro_f1": 2 * share / (1 + share) / len(counts),  # its F1 is 2n / (n + N), and that of the others 0
        "auroc": 0.5,  # all images tie
    }
