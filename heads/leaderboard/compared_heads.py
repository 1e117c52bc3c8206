"""Which heads a board compares: uniform ones, or the best of several recipes each, so that like stands beside like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from heads.leaderboard.control_group import on_random_weights
from heads.runs import Run, is_tuned

HeadKind = Literal["uniform", "tuned"]
Heads = Literal["auto", "all", "uniform", "tuned"]


def kind_of(run: Run) -> HeadKind:
    """`uniform`: trained as its options say; `tuned`: by the recipe that was found for its feature map."""
    return "tuned" if is_tuned(run) else "uniform"


def compared_kind(runs: Sequence[Run]) -> HeadKind:
    """The heads that all feature maps of `runs` can be compared by.

    Tuned ones where every feature map has a run of them, uniform ones where every feature map has one of these; else
    the kind that more of them have, and uniform where as many have either. Controls on random weights beside
    pretrained ones have no say.
    """
    heads = [run for run in runs if run.summary["phase"] == 1]
    asked = [run for run in heads if not on_random_weights(run)] or heads
    tuned, uniform = ({feature_map(run) for run in asked if is_tuned(run) == kind} for kind in (True, False))
    return "tuned" if asked and (uniform <= tuned or len(tuned) > len(uniform)) else "uniform"


def of_kind(run: Run, heads: HeadKind | None) -> bool:
    """Whether a run stands on a board of such heads (None: of both): a fine-tuned one does on any."""
    return heads is None or run.summary["phase"] != 1 or kind_of(run) == heads


def lost_maps(runs: Sequence[Run], kept: Sequence[Run]) -> list[str]:
    """The backbones of the feature maps that `runs` have and those that are `kept` have not."""
    there = {feature_map(run) for run in kept if run.summary["phase"] == 1}
    return list(dict.fromkeys(str(run.summary["backbone"]) for run in runs if feature_map(run) not in there))


def feature_map(run: Run) -> tuple[str, ...]:
    """What tells a run's feature map from others: the stores that its heads were trained on."""
    return tuple(run.summary["stores"])
