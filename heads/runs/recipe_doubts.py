"""What is to be said against a run's recipe: its heads had not finished learning what its features hold."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from featcache.options import Options
from heads.runs.run import Run
from heads.training import TrainedHead, still_improving

log = logging.getLogger("featcache")

NORMALISE = ', or try head.normalise "layernorm" or "standard"'
TRIES = " (`benchmark --tuned` tries these)"  # to be said only where it did not


def recipe_doubts(options: Options, heads: Sequence[TrainedHead]) -> list[str]:
    """A sentence for each doubt, with what to do; the run's name does not come in it."""
    training = options.training
    if not still_improving(heads, training.epochs):
        return []
    best = ", ".join(str(head.best_epoch) for head in heads[:5]) + (", .." if len(heads) > 5 else "")
    advice = f"raise training.epochs (now {training.epochs}) or training.learning_rate (now {training.learning_rate:g})"
    if options.head.normalise == "none" and training.unfreeze_schedule is None:
        advice += NORMALISE
    return [
        f"the heads were still getting better when their epochs were over (best epochs {best}, and the loss on val was "
        f"still falling): {advice}"
    ]


def warn_of_recipe(run: Run) -> None:
    """Say a run's doubts, marked as `of_recipe`: a command that ends with a board says them of all runs there."""
    for doubt in doubts_of(run):
        log.warning("%s: %s", run.summary["backbone"], doubt, extra={"of_recipe": True})


def doubts_of(run: Run) -> list[str]:
    """Those that a run noted of itself; runs of before there were any have none."""
    found: list[str] = run.summary.get("doubts", [])
    return [doubt.removesuffix(TRIES) for doubt in found]  # earlier versions kept it


def with_tuning(doubt: str) -> str:
    """A doubt of a run whose head nobody tuned yet: with the command that tries what it advises."""
    return f"{doubt}{TRIES}" if doubt.endswith(NORMALISE) else doubt
