"""Runs on random weights beside pretrained ones: a control group, which shows what pretraining buys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from heads.leaderboard.compared_run import ComparedRun
from heads.runs import Run, is_tuned

RANDOM = re.compile(r"random\(\d+\)(\+lsuv)?( \+ random\(\d+\)(\+lsuv)?)*")  # of one backbone, or of several joined


def on_random_weights(run: Run) -> bool:
    """Whether its backbone, or each of those that are joined, has seeded random weights."""
    return RANDOM.fullmatch(str(run.summary["weights"])) is not None


def partly_random(weights: str) -> bool:
    """Whether of several backbones that are joined some have random weights, and some have not."""
    return len({RANDOM.fullmatch(one) is None for one in weights.split(" + ")}) > 1


def control_group(runs: Sequence[ComparedRun]) -> frozenset[str]:
    """The names of the runs on random weights; none where no others are compared: these are the ranking then.

    What is compared are feature maps, so that a fine-tuned run alone makes no control group of them.
    """
    controls = frozenset(one.run.folder.name for one in runs if on_random_weights(one.run))
    compared = [one for one in runs if one.run.summary["phase"] == 1] or runs
    return controls if any(one.run.folder.name not in controls for one in compared) else frozenset()


def twin_of(one: ComparedRun, ordered: Sequence[ComparedRun], controls: frozenset[str]) -> ComparedRun | None:
    """The best control of the same network at the same input size, in the same phase, with the same kind of head
    (uniform or tuned): `ordered` is best first. Students have none and are none: what they learned is not their
    features' alone."""
    if one.teacher or one.run.folder.name in controls or partly_random(str(one.run.summary["weights"])):
        return None
    wanted = _network(one.run)
    others = (c for c in ordered if c.run.folder.name in controls and not c.teacher)
    return next((c for c in others if _network(c.run) == wanted), None)


def _network(run: Run) -> tuple[int, bool, str | None, list[tuple[str, str]]]:
    """The phase, whether the head is tuned, whose networks they are, and of each backbone its name and input size, as
    its store is called.

    A tag behind timm's name is of weights: `resnet18.a1_in1k` without them is `resnet18`.
    """
    stores = [store.rpartition("-")[0].rpartition("-") for store in run.summary["stores"]]
    source = run.summary.get("source")
    return run.summary["phase"], is_tuned(run), source, [(name.partition(".")[0], size) for name, _, size in stores]
