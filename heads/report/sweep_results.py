"""What sweeps left in results/sweeps/, as a report shows it."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger("featcache")

MOST_TRIALS = 400  # drawn as lines: the best ones, and of the rest every nth


@dataclass(frozen=True)
class Trial:
    """One trial: its figures and options, as trials.csv has them."""

    number: int
    state: str
    values: tuple[float, ...]  # one for each objective; empty where it was not completed
    options: dict[str, str]
    figures: dict[str, float]
    step: tuple[int, int] | None = None  # where the search climbs: the chain, by the trial it begins at; the iteration


@dataclass(frozen=True)
class Sweep:
    """One sweep: what it searched, in which order it got better, what came out."""

    name: str
    data: str  # fingerprint of the images that its trials saw
    objectives: tuple[str, ...]
    larger: tuple[bool, ...]  # whether larger is better, for each
    sampler: str
    trials: tuple[Trial, ...]
    history: tuple[tuple[int, tuple[float | None, ...]], ...]  # trial, best of each objective so far
    importances: dict[str, float]
    best: tuple[dict[str, Any], ...]
    chosen: tuple[str, ...] = ()  # sentences: what the best owes to having been chosen
    confirmed: str = ""  # of a search of Phase 2's recipe: the run of the best one, with fresh seeds

    @property
    def several(self) -> bool:
        """Whether it has more than one objective."""
        return len(self.objectives) > 1

    @property
    def best_first(self) -> list[Trial]:
        """Its trials by their first value; those without one are last."""
        sign = -1.0 if self.larger[0] else 1.0
        return sorted(self.trials, key=lambda t: (not t.values, sign * t.values[0] if t.values else 0.0, t.number))


def load_sweeps(folder: Path, data: str) -> list[Sweep]:
    """Every sweep with a result below `folder` on the data with the fingerprint `data`, in name order; what cannot be
    read is passed over with a notice."""
    found = []
    for document in sorted(folder.glob("*/sweep.json")):
        try:
            sweep = _load(document.parent)
            found += [sweep] if sweep.data == data else []
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            log.warning(
                "%s: passed over, it is no sweep of featcache's (%s: %s)", document, type(error).__name__, error
            )
    return found


def _load(folder: Path) -> Sweep:
    document = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    objective = document["options"]["objective"]
    objectives = tuple([objective] if isinstance(objective, str) else objective)
    keys = list(document["options"]["space"])
    return Sweep(
        name=folder.name,
        data=document["data"],
        objectives=objectives,
        larger=tuple(direction == "maximize" for direction in document["directions"]),
        sampler=document["options"]["sampler"],
        trials=tuple(_trial(row, objectives, keys) for row in _rows(folder / "trials.csv")),
        history=tuple(
            (int(r["trial"]), tuple(_number(r[f"best_{o}"]) for o in objectives)) for r in _rows(folder / "history.csv")
        ),
        importances={str(k): float(v) for k, v in document["importances"].items()},
        best=tuple(
            {"trial": b["trial"], "options": b["options"], "values": _reached(b, objectives)} for b in document["best"]
        ),
        chosen=tuple(document["chosen"]["said"]) if "chosen" in document else (),  # not in those of earlier versions
    )


def _reached(best: dict[str, Any], objectives: Sequence[str]) -> list[float]:
    """Its figures, where the values that the sampler followed have ties broken: of few images top-3 would be 1.03."""
    followed = zip(objectives, best["values"], strict=True)
    return [value if best.get(one) is None else best[one] for one, value in followed]


def _trial(row: dict[str, str], objectives: tuple[str, ...], keys: list[str]) -> Trial:
    values = [_number(row[f"value_{o}"]) for o in objectives]
    figures = {n: v for n in ("val_top1", "val_top3", "latency_ms") if (v := _number(row[n])) is not None}
    whole = tuple(v for v in values if v is not None)
    climbs = "chain" in row and row["chain"] != ""  # no column where the search does not climb
    return Trial(
        int(row["trial"]),
        row["state"],
        whole if len(whole) == len(values) else (),
        {k: row[k] for k in keys},
        figures,
        (int(row["chain"]), int(row["iteration"])) if climbs else None,
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _number(text: str) -> float | None:
    return float(text) if text else None


def shown(trials: tuple[Trial, ...], larger: bool) -> list[Trial]:
    """At most MOST_TRIALS completed ones by their first value, the worst first: the best are drawn last."""
    complete = sorted((t for t in trials if t.values), key=lambda t: t.values[0], reverse=not larger)
    rest, best = complete[: -MOST_TRIALS // 4], complete[-MOST_TRIALS // 4 :]
    step = max(1, -(-len(rest) // (MOST_TRIALS - len(best)))) if rest else 1
    return [*rest[::step], *best]
