"""The recipes that were tried for a tuned head, as the page shows them in the section of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.counted_nouns import counted

TITLES = {"learning_rate": "rate", "weight_decay": "weight decay", "normalise": "normalise"}
CHOSEN = "chosen"


def tried_recipes(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """`note`, `titles` and `rows` of a table: of each recipe what it is and its figures on val as found, best first;
    None of a run whose head was not tuned, or that does not say what was tried."""
    tuned = summary.get("tuned")
    if not tuned or not tuned["recipes"]:
        return None
    metric, chosen = str(summary["selection_metric"]), tuned["chosen"]
    figures = list(dict.fromkeys([metric, "val_top1"]))
    best_first = sorted(
        tuned["recipes"],
        key=lambda one: (not _is(one, chosen), one[metric] if metric == "val_loss" else -one[metric], -one["val_top1"]),
    )
    rows = [
        [*(_text(one[name]) for name in TITLES), *(f"{one[name]:.4f}" for name in figures), CHOSEN * _is(one, chosen)]
        for one in best_first
    ]
    note = f"{counted(len(rows), 'recipe')} tried, {counted(len(summary['seeds']), 'seed')} each; val as found"
    if tuned["diverged"]:
        note += f"; {tuned['diverged']} more diverged"
    return {"note": f"{note}.", "titles": [*TITLES.values(), *(f.replace("_", " ") for f in figures), ""], "rows": rows}


def _is(one: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    return all(one[name] == chosen[name] for name in TITLES)


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
