"""Runs on random weights beside pretrained ones: a control group, which shows what pretraining buys."""

from __future__ import annotations

import re
from collections.abc import Sequence

from heads.leaderboard.compared_run import ComparedRun
from heads.runs import Run

RANDOM = re.compile(r"random\(\d+\)(\+lsuv)?( \+ random\(\d+\)(\+lsuv)?)*")  # of one backbone, or of several joined


def on_random_weights(run: Run) -> bool:
    """Whether its backbone, or each of those that are joined, has seeded random weights."""
    return RANDOM.fullmatch(str(run.summary["weights"])) is not None


def control_group(runs: Sequence[ComparedRun]) -> frozenset[str]:
    """The names of the runs on random weights; none where there are no others: these are what is compared then."""
    controls = frozenset(one.run.folder.name for one in runs if on_random_weights(one.run))
    return controls if len(controls) < len(runs) else frozenset()


def twin_of(one: ComparedRun, ordered: Sequence[ComparedRun], controls: frozenset[str]) -> ComparedRun | None:
    """The best control of the same network at the same input size, trained the same way: `ordered` is best first."""
    if one.run.folder.name in controls:
        return None
    wanted = _network(one.run)
    return next((c for c in ordered if c.run.folder.name in controls and _network(c.run) == wanted), None)


def _network(run: Run) -> tuple[int, list[str]]:
    """The phase, and of each store its name less the identity: backbone and input size."""
    return run.summary["phase"], [store.rpartition("-")[0] for store in run.summary["stores"]]
