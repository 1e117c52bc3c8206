"""`train_model`: one options file becomes one run folder."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featcache import __version__
from featcache.atomic import make_folder
from featcache.backbones import build_head
from featcache.data.scratch import Scratch
from featcache.errors import InputError, NonFiniteError, RunError
from featcache.extraction import Extraction, extract, pick_device
from featcache.options import Options, parse_options, require_frozen
from featcache.profiling import device_name
from featcache.records import SILENT, Progress, Split, digest
from featcache.store.provenance import provenance
from heads.features import Features
from heads.metrics import Outcome, confusion, outcome, per_class, summarise
from heads.runs import RUN_FILES, Run, load_run_record, recording, run_folder, write_json, write_metrics, writing_run
from heads.stacked import TrainedHead, train_heads

log = logging.getLogger("featcache")

MODEL_FORMAT = 1  # of best_model.pth


def train_model(
    options: Options | Mapping[str, Any],
    *,
    results_dir: str | Path = "results",
    device: str | None = None,
    allow_custom: bool = False,
    reuse: bool = False,
    progress: Progress = SILENT,
    scratch: Scratch | None = None,
) -> Run:
    """Train the heads that `options` describes on cached features, extracting first what the cache lacks.

    Accepts an Options or a plain dict. Each call is a fresh experiment, and each set of options has a folder of its
    own; with `reuse`, a finished run of the same options on the same rows is given back instead of replaced. Raises
    InputError before any work when the options cannot be followed, and NonFiniteError when no head trained to a
    finite loss.
    """
    options = options if isinstance(options, Options) else parse_options(options)
    require_frozen(options)
    place = pick_device(device)
    made = not Path(results_dir).exists()
    make_folder(Path(results_dir))  # before hours of extraction, not after
    try:
        fill = partial(extract, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
        return _train(options, Path(results_dir), place, fill, reuse)
    except InputError:
        if made:  # nothing was done: leave nothing behind
            with contextlib.suppress(OSError):
                Path(results_dir).rmdir()
        raise


def _train(
    options: Options,
    results_dir: Path,
    place: torch.device,
    fill: Callable[[Options], Extraction],
    reuse: bool,
) -> Run:
    """Extract what is missing, train, and write the run's folder."""
    with recording() as log_lines:
        folder = run_folder(results_dir, options)
        extraction = fill(options)
        inputs = _inputs(options, extraction, device_name(place))
        if reuse and (known := _same_run(folder, inputs)) is not None:
            log.info("%s: finished before with the same options on the same rows", folder)
            return known
        with writing_run(folder) as partial:
            _train_into(partial, options, extraction, inputs, place)
            seen = load_run_record(partial)
            log.info(
                "%s: val top-1 %.4f, best epoch %d -> %s",
                options.model.backbone,
                seen.metrics["val_top1"],
                seen.best_epoch,
                folder,
            )
            (partial / "log.txt").write_text("\n".join([*log_lines, ""]), encoding="utf-8")
    return load_run_record(folder)


trainModel = train_model  # noqa: N816  the name that users' search loops call


def _same_run(folder: Path, inputs: dict[str, str]) -> Run | None:
    try:
        run = load_run_record(folder)
    except RunError:
        return None
    if run.summary.get("inputs") != inputs or not all((folder / name).is_file() for name in RUN_FILES):
        return None
    return Run(run.folder, run.summary, run.performance, reused=True)


def _inputs(options: Options, extraction: Extraction, device: str) -> dict[str, str]:
    """What decides a run's result: equal inputs give equal runs."""
    return {
        "options": options.short,
        "identity": digest(extraction.info.identity.as_dict()),
        "data": extraction.manifest.fingerprint,
        "device": device,
        "featcache": __version__,
        "torch": torch.__version__,
    }


def _train_into(
    folder: Path, options: Options, extraction: Extraction, inputs: dict[str, str], device: torch.device
) -> None:
    """Write every file of a run into `folder`."""
    training, classes = options.training, extraction.manifest.classes
    features = Features.load(extraction, device)
    begin = time.perf_counter()
    heads = train_heads(
        features,
        extraction.dims,
        training.seed_list,
        training,
        batch_size=options.data.batch_size,
        dropout=options.model.dropout,
    )
    seconds = time.perf_counter() - begin
    for head in heads:
        if head.diverged is not None:
            log.warning(
                "%s: the loss of seed %d was not finite in epoch %d",
                options.model.backbone,
                head.seed,
                head.diverged,
            )
    heads = [h for h in heads if h.state]
    if not heads:
        raise NonFiniteError(
            f"{options.experiment_name}: the loss of every head became NaN or infinite in the first epoch. Lower "
            f"training.learning_rate (now {training.learning_rate:g})."
        )
    outcomes: dict[Split, list[Outcome]] = {s: _outcomes(heads, features, s, extraction.dims) for s in ("val", "test")}
    best = _best(outcomes["val"], training.selection_metric)
    rows = [{**asdict(r), "seed": h.seed} for h in heads for r in h.curve]
    write_json(folder / "options.json", options.as_dict())
    write_metrics(folder / "metrics.csv", rows)
    write_json(folder / "performance.json", _performance(extraction, seconds))
    write_json(
        folder / "summary.json",
        _summary(options, extraction, inputs, features, heads, outcomes, best, seconds),
    )
    write_json(folder / "environment.json", _environment(device))
    torch.save(_checkpoint(options, extraction, heads[best], classes), folder / "best_model.pth")


def _outcomes(heads: Sequence[TrainedHead], features: Features, split: Split, dims: Sequence[int]) -> list[Outcome]:
    """What each head's best weights give on a split: for test, the one time it is read."""
    data = features.splits[split]
    module = build_head(dims, 0.0).to(data.x.device).eval()
    outcomes = []
    for head in heads:
        module.load_state_dict(head.state)
        with torch.inference_mode():
            outcomes.append(outcome(module(data.plain), data.y))
    return outcomes


def _best(val: Sequence[Outcome], metric: str) -> int:
    """The head to keep, chosen on val like its epoch was."""

    def score(o: Outcome) -> tuple[float, float, float]:
        first = {"val_top1": o.top1.mean(), "val_top3": o.top3.mean(), "val_loss": -o.loss.mean()}[metric]
        return float(first), float(o.top1.mean()), -float(o.loss.mean())

    return max(range(len(val)), key=lambda k: score(val[k]))


def _summary(
    options: Options,
    extraction: Extraction,
    inputs: dict[str, str],
    features: Features,
    heads: Sequence[TrainedHead],
    outcomes: dict[Split, list[Outcome]],
    best: int,
    seconds: float,
) -> dict[str, Any]:
    classes = extraction.manifest.classes
    figures: dict[str, Any] = {}
    for split, seen in outcomes.items():
        figures[split] = {
            "top1": summarise(np.stack([o.top1 for o in seen])),
            "top3": summarise(np.stack([o.top3 for o in seen])),
            "loss": summarise(np.stack([o.loss for o in seen])),
        }
    chosen = {s: outcomes[s][best].predicted for s in outcomes}
    labels: dict[Split, Tensor] = {s: features.splits[s].y for s in outcomes}
    return {
        "experiment_name": options.experiment_name,
        "phase": 1,
        "backbone": options.model.backbone,
        "source": extraction.info.identity.source,
        "weights": extraction.info.origin.label,
        "weights_fell_back": extraction.info.origin.fell_back,
        "features": extraction.info.features,
        "classifier_dims": list(extraction.dims),
        "best_epoch": heads[best].best_epoch,
        "best_seed": heads[best].seed,
        "selection_metric": options.training.selection_metric,
        **figures,
        "seeds": [
            {
                "seed": h.seed,
                "best_epoch": h.best_epoch,
                "epochs": len(h.curve),
                "diverged": h.diverged,
                **{
                    f"{s}_{m}": float(getattr(o[k], m).mean())
                    for s, o in outcomes.items()
                    for m in ("top1", "top3", "loss")
                },
            }
            for k, h in enumerate(heads)
        ],
        "classes": list(classes),
        "per_class": {s: per_class(labels[s], chosen[s], classes) for s in chosen},
        "confusion": {s: confusion(labels[s], chosen[s], len(classes)) for s in chosen},
        "data": {
            "path": str(extraction.manifest.root),
            "fingerprint": extraction.manifest.fingerprint,
            "images": {s: len(extraction.manifest.of(s)) for s in ("train", "val", "test")},
            "bad": [asdict(b) for b in extraction.bad],
            "views": options.data.view_count,
        },
        "store": extraction.store.path.name,
        "head_seconds": seconds,
        "inputs": inputs,
    }


def _performance(extraction: Extraction, seconds: float) -> dict[str, Any]:
    return {
        **asdict(extraction.profile),
        "features": extraction.info.features,
        "extraction": extraction.store.extraction(),
        "head_seconds": seconds,
    }


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        **provenance(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "command": sys.argv,
    }


def _checkpoint(
    options: Options, extraction: Extraction, head: TrainedHead, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Plain types and tensors only, so that `torch.load(weights_only=True)` reads it."""
    return {
        "format_version": MODEL_FORMAT,
        "head": {n: t.cpu() for n, t in head.state.items()},
        "dims": list(extraction.dims),
        "dropout": options.model.dropout,
        "classes": list(classes),
        "identity": extraction.info.identity.as_dict(),
        "seed": head.seed,
        "epoch": head.best_epoch,
    }
