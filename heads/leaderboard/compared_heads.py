"""Which heads a board compares: uniform ones, or the best of several recipes each, so that like stands beside like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from heads.leaderboard.control_group import on_random_weights
from heads.runs import Run, is_student, is_tuned

HeadKind = Literal["uniform", "tuned"]
Heads = Literal["auto", "all", "uniform", "tuned"]


def kind_of(run: Run) -> HeadKind:
    """`uniform`: trained as its options say; `tuned`: by the recipe that was found for its feature map."""
    return "tuned" if is_tuned(run) else "uniform"


def compared_kind(runs: Sequence[Run]) -> HeadKind:
    """The heads that all feature maps of `runs` can be compared by.

    Tuned ones where every feature map has a run of them, uniform ones where every feature map has one of these; else
    the kind that more of them have, and uniform where as many have either. Controls on random weights beside
    pretrained ones have no say, nor have students.
    """
    heads = _of_maps(runs)
    asked = [run for run in heads if not on_random_weights(run)] or heads
    tuned, uniform = ({feature_map(run) for run in asked if is_tuned(run) == kind} for kind in (True, False))
    return "tuned" if asked and (uniform <= tuned or len(tuned) > len(uniform)) else "uniform"


def of_kind(run: Run, heads: HeadKind | None) -> bool:
    """Whether a run stands on a board of such heads (None: of both): a fine-tuned one and a student do on any."""
    return heads is None or not _of_maps([run]) or kind_of(run) == heads


def lost_maps(runs: Sequence[Run], kept: Sequence[Run]) -> list[str]:
    """The backbones of the feature maps that `runs` have and those that are `kept` have not."""
    there = {feature_map(run) for run in _of_maps(kept)}
    return list(dict.fromkeys(str(run.summary["backbone"]) for run in runs if feature_map(run) not in there))


def _of_maps(runs: Sequence[Run]) -> list[Run]:
    """Those whose heads stand for feature maps."""
    return [run for run in runs if run.summary["phase"] == 1 and not is_student(run)]


def feature_map(run: Run) -> tuple[str, ...]:
    """What tells a run's feature map from others: the stores that its heads were trained on."""
    return tuple(run.summary["stores"])
