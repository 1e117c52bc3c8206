"""The trials of a sweep in, the files of its folder out: to read, and to go on with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from featcache.atomic import make_folder, write_text
from heads.search.chosen_text import chosen_text
from heads.search.chosen_trial import ChosenTrial
from heads.search.objectives import OBJECTIVES
from heads.search.search_space import Space
from heads.search.spsa_climb import MARK, step_of
from heads.search.study import SAME_AS
from heads.search.sweep_options import SweepOptions
from heads.search.trial_figures import FIGURES

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def write_trials(
    file: Path, sweep: SweepOptions, space: Space, trials: Sequence[FrozenTrial], chosen: ChosenTrial | None
) -> None:
    """trials.csv: a row for each trial, with the value its sampler followed, whether it may be the best, its
    figures and its options; where the sampler climbs, the trial its chain begins at, the iteration (0: a start) and
    the side of its pair."""
    keys = list(space.distributions)
    values = [f"value_{o}" for o in sweep.objectives]
    judged = _judged(chosen)
    marked = {t.number: step_of(t) for t in trials if MARK in t.system_attrs}
    steps = {n: {"chain": s.chain, "iteration": s.iteration + 1, "side": s.side} for n, s in marked.items()}
    rows = [
        {
            "trial": t.number,
            "state": STATES[t.state],
            **dict(zip(values, t.values or [], strict=False)),
            **{column: "yes" if t.number in one.may_be_best else "" for column, one in judged.items()},
            **{n: t.user_attrs.get(n, "") for n in FIGURES},
            **{k: t.params.get(k, "") for k in keys},
            "pruned_at": t.user_attrs.get("pruned_at", ""),
            "reason": t.user_attrs.get("reason", ""),
            SAME_AS: t.user_attrs.get(SAME_AS, ""),
            **steps.get(t.number, {}),
        }
        for t in trials
    ]
    climbed = ["chain", "iteration", "side"] if steps else []
    columns = ["trial", "state", *values, *judged, *FIGURES, *keys, "pruned_at", "reason", SAME_AS, *climbed]
    write_text(file, _table(columns, rows))


def _judged(chosen: ChosenTrial | None) -> dict[str, ChosenTrial]:
    """By column of trials.csv what says which trials may be the best: with several objectives one for each."""
    if chosen is None:
        return {"may_be_best": ChosenTrial(0)}
    return {f"may_be_best_{o}": one for o, one in chosen.each.items()} if chosen.each else {"may_be_best": chosen}


def write_history(file: Path, sweep: SweepOptions, trials: Sequence[FrozenTrial]) -> None:
    """history.csv: the best value of each objective after each trial."""
    best: dict[str, float] = {}
    rows = []
    for trial in trials:
        for objective, value in zip(sweep.objectives, trial.values or [], strict=False):
            if trial.state != TrialState.COMPLETE:
                continue
            pick = max if OBJECTIVES[objective].maximise else min
            best[objective] = pick(best.get(objective, value), value)
        rows.append({"trial": trial.number, **{f"best_{o}": v for o, v in best.items()}})
    write_text(file, _table(["trial", *(f"best_{o}" for o in sweep.objectives)], rows))


def write_best(folder: Path, sweep: SweepOptions, space: Space, best: Sequence[FrozenTrial]) -> list[Path]:
    """best.json, which `featcache train` takes as it is; with several objectives one file in pareto/ for each trial of
    the front."""
    several = len(sweep.objectives) > 1
    written = []
    for trial in best:
        name = f"{sweep.name}-{trial.number:04d}" if several else f"{sweep.name}-best"
        options = space.options(trial.params).model_copy(update={"experiment_name": name})
        file = folder / "pareto" / f"{trial.number:04d}.json" if several else folder / "best.json"
        make_folder(file.parent)
        write_text(file, json.dumps(options.as_dict(), indent=2) + "\n")
        written.append(file)
    for stale in (folder / "pareto").glob("*.json"):
        if stale not in written:
            stale.unlink()
    return written


def write_summary(
    file: Path,
    sweep: SweepOptions,
    space: Space,
    best: Sequence[FrozenTrial],
    chosen: ChosenTrial,
    *,
    data: str,
    importances: Mapping[str, float],
    seconds: Mapping[str, float],
) -> None:
    """sweep.json: the sweep, its best trials, what the best owes to having been chosen, the fingerprint of the images
    they saw, and where the time went."""
    document = {
        "options": {**sweep.model_dump(mode="json"), "base": space.base},
        "best": [{"trial": t.number, "options": t.params, "values": t.values, **t.user_attrs} for t in best],
        "chosen": {**_chosen(chosen), "said": chosen_text(chosen)},
        "data": data,
        "directions": ["maximize" if OBJECTIVES[o].maximise else "minimize" for o in sweep.objectives],
        "importances": importances,
        "seconds_of_the_last_call": seconds,
    }
    write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _chosen(chosen: ChosenTrial) -> dict[str, Any]:
    each = {objective: _chosen(one) for objective, one in chosen.each.items()}
    return {**asdict(chosen), "figures": _corrected(chosen), "each": each}


def _corrected(chosen: ChosenTrial) -> dict[str, dict[str, float]]:
    """The corrected figures by metric, the loss as itself."""
    found = {}
    for name, one in chosen.figures.items():
        sign = -1.0 if name == "loss" else 1.0
        limits = sorted((sign * one.low, sign * one.high))
        figures = {"found": sign * one.found, "corrected": sign * one.mean, "low": limits[0], "high": limits[1]}
        found[name] = {**figures, "added": sign * one.added}
    return found


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
