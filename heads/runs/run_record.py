"""What a run writes of itself: summary.json, performance.json, environment.json, best_model.pth, predictions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featcache import __version__
from featcache.atomic import save_tensors
from featcache.data import weights_digest
from featcache.devices import device_name
from featcache.extraction import CachedFeatures
from featcache.options import Options, cache_name
from featcache.records import ImageRecord, Split, digest
from featcache.relatives import has_groups
from featcache.separability import Answered, Separation
from featcache.statistics import Scores
from featcache.store import provenance
from heads.runs.calibration import calibrate
from heads.runs.leaked_images import group_leakage, leakage, leaks_of
from heads.runs.predictions import Probe, ProbeName, groups_of, save_predictions
from heads.runs.recipe_doubts import recipe_doubts
from heads.runs.result import Result
from heads.runs.run_files import epoch_columns, write_json, write_metrics
from heads.runs.split_figures import split_figures
from heads.runs.val_outcomes import OUTCOMES_FILE, save_val_outcomes
from heads.training import ImageOutcomes, confusion, per_class, summarise

MODEL_FORMAT = 4  # of best_model.pth; up to 3 nothing was normalised


def write_record(
    folder: Path, options: Options, cached: CachedFeatures, inputs: dict[str, Any], result: Result, device: torch.device
) -> None:
    """Write every file of a run but its log into `folder`."""
    rows = [epoch_columns(row, head) for folds in result.seeds for head in folds for row in head.curve]
    write_json(folder / "options.json", options.as_dict())
    write_metrics(folder / "metrics.csv", rows)
    write_json(folder / "performance.json", _performance(cached, result))
    write_json(folder / "summary.json", _summary(options, cached, inputs, result))
    write_json(folder / "environment.json", _environment(device))
    save_predictions(folder / "predictions.npz", result.predictions, _probes(result.separation, cached.manifest.images))
    if result.val_outcomes is not None:
        save_val_outcomes(folder / OUTCOMES_FILE, result.val_outcomes)
    save_tensors(folder / "best_model.pth", _checkpoint(options, cached, result))


def make_inputs(options: Options, cached: CachedFeatures, device: str) -> dict[str, Any]:
    """What decides a run's result: equal inputs give equal runs."""
    images = cached.manifest.images
    # Tables of groups and weights may change while their names in the options stay.
    grouped = {"groups": digest([[i.sha256, i.group] for i in images])} if has_groups(images) else {}
    weights = weights_digest([i for i in images if i.split in options.data.training_splits])
    return {
        "options": options.short,
        "identities": [digest(identity) for identity in cached.identities()],
        "data": cached.manifest.fingerprint,
        **grouped,
        **({"weights": weights} if weights is not None else {}),
        "device": device,
        "featcache": __version__,
        "torch": str(torch.__version__),  # else an object of torch's, which checkpoints do not load
    }


def _probes(separation: Separation | None, images: Sequence[ImageRecord]) -> dict[ProbeName, Probe]:
    """What probes on the run's features got right; `images` are those of the data set."""
    if separation is None:
        return {}
    linear = None if separation.right is None else Answered(separation.images, separation.right)
    answered: dict[ProbeName, Answered | None] = {
        "probe": linear,
        "logistic_probe": separation.logistic,
        "logistic_probe_val": separation.logistic_val,
    }
    records = {image.name: image for image in images}
    found: dict[ProbeName, Probe] = {}
    for name, one in answered.items():
        if one is not None:
            own = [records[image] for image in one.images]
            found[name] = Probe(one.right, one.images, groups_of(own), tuple(i.sha256 for i in own))
    return found


def _logistic_probe(result: Result) -> dict[str, Any] | None:
    """The second judge on val: logistic regression on all training images, its C chosen among them alone."""
    separation = result.separation
    if separation is None or separation.logistic_val is None:
        return None
    seen, answered = result.predictions["val"], separation.logistic_val
    unit_of = dict(zip(seen.images, seen.units, strict=True))
    scores = Scores(answered.right[None].astype(np.float64), tuple(unit_of[name] for name in answered.images))
    return {"c": separation.c, "images": len(separation.images), "val": {"top1": summarise(scores)}}


def _summary(options: Options, cached: CachedFeatures, inputs: dict[str, Any], result: Result) -> dict[str, Any]:
    classes, splits = cached.manifest.classes, result.predictions
    figures: dict[str, Any] = {}
    for split, seen in result.outcomes.items():
        figures[split] = split_figures(splits[split], seen)
    return {
        "experiment_name": options.experiment_name,
        "phase": 1 if result.network is None else 2,
        "from_run": result.from_run,
        "from_inputs": result.from_inputs,
        "stages": result.stages,
        "backbone": options.model.backbone,
        "source": cached.source,
        "weights": cached.weights,
        "weights_fell_back": cached.fell_back,
        "features": cached.features,
        "features_rms": result.features_rms,
        "normalise": options.head.normalise,
        "doubts": recipe_doubts(options, [head for folds in result.seeds for head in folds]),
        "classifier_dims": list(cached.dims),
        "best_epoch": result.best_epoch,
        "best_seed": result.head.seed,
        "best_fold": result.head.fold if options.data.folds and result.network is None else None,
        "calibration": _calibration(result),
        "selection_metric": options.training.selection_metric,
        **figures,
        "seeds": [_seed(result, number) for number in range(len(result.seeds))],
        "classes": list(classes),
        "leakage": leakage(splits, leaks_of(cached.manifest, options.data.folds)),
        "group_leakage": group_leakage(cached.manifest, options.data.folds, splits),
        "separability": result.separation.figures if result.separation is not None else None,
        "tuned": result.tuned,
        "logistic_probe": _logistic_probe(result),
        "per_class": {s: per_class(splits[s].labels, result.predicted(s), classes) for s in splits},
        "confusion": {s: confusion(splits[s].labels, result.predicted(s), len(classes)) for s in splits},
        "data": {
            "path": str(cached.manifest.root),
            "fingerprint": cached.manifest.fingerprint,
            "images": {s: len(cached.manifest.of(s)) for s in ("train", "val", "test")},
            "bad": [asdict(b) for b in cached.bad],
            "views": options.data.view_count,
            "folds": options.data.folds,
            "groups": len({i.group for i in cached.manifest.images if i.group is not None}) or None,
        },
        "stores": cached.stores,
        "cache_dir": cache_name(cached.parts[0].store.path.parent),
        "head_seconds": result.seconds,
        "inputs": inputs,
        **({"of_folds": result.of_folds} if result.of_folds else {}),
        **({"soup": result.soup} if result.soup is not None else {}),
        **({"distillation": result.distillation} if result.distillation is not None else {}),
    }


def _calibration(result: Result) -> dict[str, Any]:
    """Of the head that is kept, on the validation images; with folds by the heads of its seed."""
    number = [heads[0].seed for heads in result.seeds].index(result.head.seed)
    val = result.predictions["val"]
    return asdict(calibrate(val.logits[number], val.labels))


def _seed(result: Result, number: int) -> dict[str, Any]:
    """One seed's entry in the summary; with folds, its epochs are those of each fold."""
    heads, folds = result.seeds[number], len(result.seeds[number])
    seen: dict[Split, list[ImageOutcomes]] = {
        "val": [result.outcomes["val"][number]],
        "test": result.outcomes["test"][number * folds : (number + 1) * folds],
    }
    epochs: dict[str, Any] = {
        "best_epoch": [h.best_epoch for h in heads],
        "epochs": [len(h.trained) for h in heads],
        "diverged": [h.diverged for h in heads],
    }
    return {
        "seed": heads[0].seed,
        **(epochs if folds > 1 else {n: v[0] for n, v in epochs.items()}),
        **{
            f"{s}_{m}": float(np.mean([o.values[m].mean() for o in outcomes]))
            for s, outcomes in seen.items()
            for m in outcomes[0].values
        },
    }


def _performance(cached: CachedFeatures, result: Result) -> dict[str, Any]:
    return {
        **asdict(cached.profile),
        "features": cached.features,
        "extractions": [p.store.extraction() for p in cached.parts],
        "head_seconds": result.seconds,
    }


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        **provenance(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "command": sys.argv,
    }


def _checkpoint(options: Options, cached: CachedFeatures, result: Result) -> dict[str, Any]:
    """Plain types and tensors only, so that `torch.load(weights_only=True)` reads it."""
    head = result.head
    return {
        "format_version": MODEL_FORMAT,
        "network": result.network,
        "head": {n: t.cpu() for n, t in head.state.items()},
        "dims": list(cached.dims),
        "dropout": options.model.dropout,
        "normalise": options.head.normalise,  # l2 and layernorm come before the weights; standard and scale are in them
        "classes": list(cached.manifest.classes),
        "identities": cached.identities(),
        "seed": head.seed,
        "fold": head.fold,
        "epoch": result.best_epoch,
    }
