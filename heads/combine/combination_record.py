"""A combination's folder under results/: the files of a run, of which it is one, written whole or not at all."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featcache import __version__
from featcache.errors import FeatcacheError, RunError
from featcache.records import digest
from featcache.store import provenance
from heads.combine.combination import Answered, Combination
from heads.combine.combination_text import sentences
from heads.combine.comparisons import COMPARED, best_member, differences
from heads.combine.members import SPLITS, Member
from heads.combine.summed_cost import feature_map, summed_cost
from heads.runs import (
    COMBINED,
    MemberRecord,
    Run,
    cache_of,
    calibrate,
    calibration_of,
    group_leakage,
    leakage,
    leaks_of,
    load_run_record,
    manifest_of,
    save_predictions,
    split_figures,
    write_json,
    writing_folder,
)
from heads.training import confusion, per_class

log = logging.getLogger("featcache")


def write_combination(folder: Path, combination: Combination, rounds: int) -> Run:
    """The combination as a run in `folder`, in the place of an earlier one; raises RunError where a run that is none
    lies there."""
    require_free(folder)
    summary = _summary(folder.name, combination)
    with writing_folder(folder, "an earlier combination of that name") as partial:
        write_json(partial / "options.json", _options(folder.name, combination, rounds))
        write_json(partial / "performance.json", summed_cost(counting(combination)))
        write_json(partial / "summary.json", summary)
        write_json(partial / "environment.json", {**provenance(), "command": sys.argv})
        save_predictions(partial / "predictions.npz", {s: one.seen for s, one in combination.answered.items()})
        lines = summary["combination"]["said"]
        (partial / "log.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return load_run_record(folder)


def require_free(folder: Path) -> None:
    """Raise RunError where `folder` holds something else than a combination, which must not be lost."""
    if not folder.exists():
        return
    try:
        if load_run_record(folder).summary["phase"] == COMBINED:
            return
    except RunError:
        pass
    raise RunError(f"{folder}: is there already and no combination, so it is left as it is. Choose another --name.")


def counting(combination: Combination) -> list[Member]:
    """The members that have a weight: the others are asked for nothing."""
    pairs = zip(combination.members, combination.fitted.weights, strict=True)
    return [one for one, weight in pairs if weight > 0]


def _summary(name: str, combination: Combination) -> dict[str, Any]:
    first, here = combination.members[0].run.summary, counting(combination)
    seen = {split: combination.answered[split].seen for split in SPLITS}
    kept = {split: combination.answered[split].outcomes[combination.kept(split)].predicted for split in SPLITS}
    classes = tuple(first["classes"])
    maps = {feature_map(one): one.run.summary for one in reversed(here)}
    stores = [store for one in reversed(maps.values()) for store in one["stores"]]
    found: dict[str, Any] = {
        "experiment_name": name,
        "phase": COMBINED,
        "from_run": None,
        "from_inputs": None,
        "stages": [],
        "backbone": f"{name} (combination of {len(here)})",
        "source": " + ".join(dict.fromkeys(one.run.summary["source"] for one in here)),
        "weights": " + ".join(dict.fromkeys(one.run.summary["weights"] for one in here)),
        "weights_fell_back": any(one.run.summary["weights_fell_back"] for one in here),
        "features": sum(one["features"] for one in maps.values()),
        "best_epoch": None,
        "best_seed": combination.best,
        "best_fold": None,
        "calibration": _calibration(combination),
        "selection_metric": first["selection_metric"],
        **{split: _figures(combination.answered[split]) for split in SPLITS},
        "seeds": [_seed(combination, number) for number in range(len(seen["val"].logits))],
        "classes": list(classes),
        **_leakage(combination),
        "separability": None,
        "tuned": None,
        "logistic_probe": None,
        "per_class": {s: per_class(seen[s].labels, kept[s], classes) for s in SPLITS},
        "confusion": {s: confusion(seen[s].labels, kept[s], len(classes)) for s in SPLITS},
        "data": first["data"],
        "stores": list(dict.fromkeys(stores)),
        "cache_dir": first["cache_dir"],
        "head_seconds": sum(one.run.performance["head_seconds"] for one in here),
        "combination": _combination(combination),
    }
    members = [asdict(record) for record in _records(combination)]
    found["inputs"] = {"members": digest(members), "data": first["data"]["fingerprint"], "featcache": __version__}
    found["combination"]["said"] = sentences(found)
    return found


def _combination(combination: Combination) -> dict[str, Any]:
    """What is there of no other run: the members, how the weights were found, what they brought."""
    spread = combination.fitted.spread
    return {
        "members": [
            {**asdict(record), "moves": float(moves), "val": _short(one, "val"), "test": _short(one, "test")}
            for record, moves, one in zip(_records(combination), spread, combination.members, strict=True)
        ],
        "parts": combination.fitted.parts,
        "found": _figures(combination.found),
        "plain_average": {split: _figures(combination.plain[split]) for split in SPLITS},
        "best_member": best_member(combination).run.folder.name,
        "ahead_of": differences(combination),
    }


def _short(member: Member, split: str) -> dict[str, Any]:
    return {metric: member.run.summary[split][metric] for metric in COMPARED if metric in member.run.summary[split]}


def _records(combination: Combination) -> Sequence[MemberRecord]:
    return [
        MemberRecord(
            one.place,
            str(one.run.summary["backbone"]),
            float(weight),
            one.temperature,
            digest(one.run.summary.get("inputs")),
            one.model,
        )
        for one, weight in zip(combination.members, combination.fitted.weights, strict=True)
    ]


def _figures(one: Answered) -> dict[str, Any]:
    return split_figures(one.seen, one.outcomes)


def _calibration(combination: Combination) -> dict[str, Any] | None:
    """Of the model that is used, by what it answers to validation images out of fold; of one run alone its own."""
    if len(combination.members) == 1:
        run = combination.members[0].run
        own = calibration_of(run.folder, run.summary)
        return None if own is None else asdict(own)
    val = combination.answered["val"].seen
    return asdict(calibrate(val.logits[combination.kept("val")], val.labels))


def _seed(combination: Combination, number: int) -> dict[str, Any]:
    """A seed of all members, with its figures."""
    found: dict[str, Any] = {"seed": number}
    for split in SPLITS:
        outcomes = combination.answered[split].outcomes
        folds = len(outcomes) // len(combination.answered["val"].outcomes)
        own = outcomes[number * folds : (number + 1) * folds]
        found |= {f"{split}_{m}": float(sum(o.mean(m) for o in own) / folds) for m in own[0].values}
    return found


def _leakage(combination: Combination) -> dict[str, Any]:
    """What leaked images do to the figures, where a cache still knows the images."""
    run = combination.members[0].run
    splits = {split: combination.answered[split].seen for split in SPLITS}
    folds = run.summary["data"]["folds"]
    try:
        manifest = manifest_of(run, cache_of(run))
    except FeatcacheError as error:
        log.info("images that leaked are not looked for (%s)", error)
        return {"leakage": {}, "group_leakage": None}
    leaked = leakage(splits, leaks_of(manifest, folds))
    return {"leakage": leaked, "group_leakage": group_leakage(manifest, folds, splits)}


def _options(name: str, combination: Combination, rounds: int) -> dict[str, Any]:
    """What was asked for, and the images that its members are on."""
    found: dict[str, Any] = {
        "experiment_name": name,
        "combine": {
            "members": [one.place for one in combination.members],
            "rounds": rounds,
            "equal": combination.fitted.parts == 0,
        },
    }
    try:
        own = json.loads((combination.members[0].run.folder / "options.json").read_text(encoding="utf-8"))
        return {**found, "data": own["data"]}
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return found
