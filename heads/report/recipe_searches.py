"""What searches of Phase 2's recipe left in results/recipes/, as a report shows it: sweeps whose trials are recipes."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

from heads.report.sweep_results import Sweep, Trial

log = logging.getLogger("featcache")

STATES = {"complete": "complete", "stopped": "pruned", "failed": "fail"}  # as sweeps call them


def load_recipe_searches(folder: Path, data: str) -> list[Sweep]:
    """Every search with a result below `folder` on the data with the fingerprint `data`, in name order; what cannot be
    read is passed over with a notice."""
    found = []
    for document in sorted(folder.glob("*/search.json")):
        try:
            search = _load(document.parent)
            found += [search] if search.data == data else []
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            log.warning(
                "%s: passed over, it is no search of featcache's (%s: %s)", document, type(error).__name__, error
            )
    return found


def _load(folder: Path) -> Sweep:
    document = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    objective, larger = str(document["objective"]), document["direction"] == "maximize"
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    trials = tuple(_trial(row, objective, list(document["search"]["space"])) for row in rows)
    best = document["best"]
    return Sweep(
        name=folder.name,
        data=document["data"],
        objectives=(objective,),
        larger=(larger,),
        sampler="tpe",
        trials=trials,
        history=_history(trials, larger),
        importances={},
        best=({"trial": best["trial"], "options": best["options"], "values": [best[objective]]},),
        chosen=tuple(document["said"]),
        confirmed=document["confirmed"]["run"],
    )


def _trial(row: dict[str, str], objective: str, keys: list[str]) -> Trial:
    figures = {name: float(row[name]) for name in ("val_top1", "epochs", "seconds") if row[name]}
    value = row[objective] if objective in row else row["value"]
    return Trial(
        int(row["trial"]),
        STATES[row["state"]],
        (float(value),) if value else (),
        {key: row[key] for key in keys if key in row},
        figures,
    )


def _history(trials: tuple[Trial, ...], larger: bool) -> tuple[tuple[int, tuple[Any, ...]], ...]:
    """The best so far after each trial."""
    found: list[tuple[int, tuple[Any, ...]]] = []
    best: float | None = None
    for one in trials:
        for value in one.values:
            best = value if best is None else max(best, value) if larger else min(best, value)
        found.append((one.number, (best,)))
    return tuple(found)
