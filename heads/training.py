"""`train_model`: one options file becomes one run folder."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache import __version__
from featcache.atomic import make_folder
from featcache.data.scratch import Scratch
from featcache.errors import InputError, NonFiniteError, RunError
from featcache.extraction import pick_device
from featcache.joined import Joined, extract_joined
from featcache.options import Options, parse_options, require_frozen
from featcache.profiling import device_name
from featcache.records import SILENT, Progress, Split, digest
from featcache.store.provenance import provenance
from heads.cohort import Head
from heads.evaluation import Predictions, predict_test, predict_val, save_predictions
from heads.features import load_features
from heads.metrics import Outcome, confusion, outcome, per_class, summarise
from heads.runs import RUN_FILES, Run, load_run_record, recording, run_folder, write_json, write_metrics, writing_run
from heads.stacked import TrainedHead, score, train_heads

log = logging.getLogger("featcache")

MODEL_FORMAT = 2  # of best_model.pth


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
        fill = partial(extract_joined, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
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
    fill: Callable[[Options], Joined],
    reuse: bool,
) -> Run:
    """Extract what is missing, train, and write the run's folder."""
    with recording() as log_lines:
        folder = run_folder(results_dir, options)
        joined = fill(options)
        inputs = _inputs(options, joined, device_name(place))
        if reuse and (known := _same_run(folder, inputs)) is not None:
            log.info("%s: finished before with the same options on the same rows", folder)
            return known
        with writing_run(folder) as partial:
            _train_into(partial, options, joined, inputs, place)
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


def _same_run(folder: Path, inputs: dict[str, Any]) -> Run | None:
    try:
        run = load_run_record(folder)
    except RunError:
        return None
    if run.summary.get("inputs") != inputs or not all((folder / name).is_file() for name in RUN_FILES):
        return None
    return Run(run.folder, run.summary, run.performance, reused=True)


def _inputs(options: Options, joined: Joined, device: str) -> dict[str, Any]:
    """What decides a run's result: equal inputs give equal runs."""
    return {
        "options": options.short,
        "identities": [digest(identity) for identity in joined.identities()],
        "data": joined.manifest.fingerprint,
        "device": device,
        "featcache": __version__,
        "torch": torch.__version__,
    }


def _train_into(folder: Path, options: Options, joined: Joined, inputs: dict[str, Any], device: torch.device) -> None:
    """Write every file of a run into `folder`."""
    features = load_features(joined, device, folds=options.data.folds, limit_bytes=options.cache.max_features_gb * 1e9)
    begin = time.perf_counter()
    trained = train_heads(
        features, run_heads(options, joined.dims, len(features.folds)), batch_size=options.data.batch_size
    )
    seconds = time.perf_counter() - begin
    seeds = _finite_seeds(options, trained, len(features.folds))
    heads = [head for folds in seeds for head in folds]
    predictions: dict[Split, Predictions] = {
        "val": predict_val(features, seeds, joined),
        "test": predict_test(joined, heads, device),
    }
    outcomes = {
        split: [outcome(torch.from_numpy(one), torch.from_numpy(seen.labels)) for one in seen.logits]
        for split, seen in predictions.items()
    }
    best = _best(outcomes["val"], options.training.selection_metric)
    chosen = max(range(len(seeds[best])), key=lambda f: score(seeds[best][f].best, options.training.selection_metric))
    result = _Result(seeds, predictions, outcomes, best, chosen, seconds)
    write_json(folder / "options.json", options.as_dict())
    write_metrics(
        folder / "metrics.csv", [{**asdict(r), "seed": h.seed, "fold": h.fold} for h in heads for r in h.curve]
    )
    write_json(folder / "performance.json", _performance(joined, seconds))
    write_json(folder / "summary.json", _summary(options, joined, inputs, result))
    write_json(folder / "environment.json", _environment(device))
    save_predictions(folder / "predictions.npz", predictions)
    torch.save(_checkpoint(options, joined, result.head), folder / "best_model.pth")


def run_heads(options: Options, dims: tuple[int, ...], folds: int) -> list[Head]:
    """The heads of a run: for each seed one, or one for each fold."""
    training, dropout = options.training, options.model.dropout
    return [Head(dims, training, seed, dropout, fold) for seed in training.seed_list for fold in range(folds)]


@dataclass(frozen=True)
class _Result:
    """What a run's heads came to."""

    seeds: list[list[TrainedHead]]  # [seed][fold]
    predictions: dict[Split, Predictions]
    outcomes: dict[Split, list[Outcome]]  # val: of each seed, out of fold; test: of each head
    best: int  # the seed that is best on val
    chosen: int  # of its heads the one that is kept: the fold that is best on its own val images
    seconds: float

    @property
    def head(self) -> TrainedHead:
        """The head that is kept."""
        return self.seeds[self.best][self.chosen]

    def predicted(self, split: Split) -> NDArray[np.int64]:
        """Classes by the best seed; on test by the head that is kept."""
        place = self.best if split == "val" else self.best * len(self.seeds[0]) + self.chosen
        return self.outcomes[split][place].predicted


def _finite_seeds(options: Options, trained: Sequence[TrainedHead], folds: int) -> list[list[TrainedHead]]:
    """The heads by seed, without the seeds that have none to show for a fold."""
    for head in trained:
        if head.diverged is not None:
            log.warning(
                "%s: the loss of seed %d was not finite in epoch %d",
                options.model.backbone,
                head.seed,
                head.diverged,
            )
    every = [list(trained[start : start + folds]) for start in range(0, len(trained), folds)]
    seeds = [heads for heads in every if all(h.state for h in heads)]
    if not seeds:
        raise NonFiniteError(
            f"{options.experiment_name}: the loss of every head became NaN or infinite in the first epoch. Lower "
            f"training.learning_rate (now {options.training.learning_rate:g})."
        )
    return seeds


def _best(val: Sequence[Outcome], metric: str) -> int:
    """The seed to keep, chosen on val like its epoch was."""

    def key(o: Outcome) -> tuple[float, float, float]:
        first = {"val_top1": o.top1.mean(), "val_top3": o.top3.mean(), "val_loss": -o.loss.mean()}[metric]
        return float(first), float(o.top1.mean()), -float(o.loss.mean())

    return max(range(len(val)), key=lambda k: key(val[k]))


def _summary(options: Options, joined: Joined, inputs: dict[str, Any], result: _Result) -> dict[str, Any]:
    classes, splits = joined.manifest.classes, result.predictions
    figures: dict[str, Any] = {}
    for split, seen in result.outcomes.items():
        figures[split] = {m: summarise(np.stack([getattr(o, m) for o in seen])) for m in ("top1", "top3", "loss")}
    return {
        "experiment_name": options.experiment_name,
        "phase": 1,
        "backbone": options.model.backbone,
        "source": joined.source,
        "weights": joined.weights,
        "weights_fell_back": joined.fell_back,
        "features": joined.features,
        "classifier_dims": list(joined.dims),
        "best_epoch": result.head.best_epoch,
        "best_seed": result.head.seed,
        "best_fold": result.head.fold if options.data.folds else None,
        "selection_metric": options.training.selection_metric,
        **figures,
        "seeds": [_seed(result, number) for number in range(len(result.seeds))],
        "classes": list(classes),
        "per_class": {s: per_class(splits[s].labels, result.predicted(s), classes) for s in splits},
        "confusion": {s: confusion(splits[s].labels, result.predicted(s), len(classes)) for s in splits},
        "data": {
            "path": str(joined.manifest.root),
            "fingerprint": joined.manifest.fingerprint,
            "images": {s: len(joined.manifest.of(s)) for s in ("train", "val", "test")},
            "bad": [asdict(b) for b in joined.bad],
            "views": options.data.view_count,
            "folds": options.data.folds,
        },
        "stores": joined.stores,
        "head_seconds": result.seconds,
        "inputs": inputs,
    }


def _seed(result: _Result, number: int) -> dict[str, Any]:
    """One seed's entry in the summary; with folds, its epochs are those of each fold."""
    heads, folds = result.seeds[number], len(result.seeds[number])
    seen: dict[Split, list[Outcome]] = {
        "val": [result.outcomes["val"][number]],
        "test": result.outcomes["test"][number * folds : (number + 1) * folds],
    }
    epochs: dict[str, Any] = {
        "best_epoch": [h.best_epoch for h in heads],
        "epochs": [len(h.curve) for h in heads],
        "diverged": [h.diverged for h in heads],
    }
    return {
        "seed": heads[0].seed,
        **(epochs if folds > 1 else {n: v[0] for n, v in epochs.items()}),
        **{
            f"{s}_{m}": float(np.mean([getattr(o, m).mean() for o in outcomes]))
            for s, outcomes in seen.items()
            for m in ("top1", "top3", "loss")
        },
    }


def _performance(joined: Joined, seconds: float) -> dict[str, Any]:
    return {
        **asdict(joined.profile),
        "features": joined.features,
        "extractions": [p.store.extraction() for p in joined.parts],
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


def _checkpoint(options: Options, joined: Joined, head: TrainedHead) -> dict[str, Any]:
    """Plain types and tensors only, so that `torch.load(weights_only=True)` reads it."""
    return {
        "format_version": MODEL_FORMAT,
        "head": {n: t.cpu() for n, t in head.state.items()},
        "dims": list(joined.dims),
        "dropout": options.model.dropout,
        "classes": list(joined.manifest.classes),
        "identities": joined.identities(),
        "seed": head.seed,
        "fold": head.fold,
        "epoch": head.best_epoch,
    }
