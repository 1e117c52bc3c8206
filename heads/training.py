"""`train_model`: one options file becomes one run folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from featcache.data.scratch import Scratch
from featcache.errors import NonFiniteError
from featcache.extraction import pick_device
from featcache.joined import Joined, extract_joined
from featcache.options import Options, parse_options
from featcache.profiling import device_name
from featcache.records import SILENT, Progress, Split
from heads.cohort import Head
from heads.evaluation import Predictions, predict_test, predict_val
from heads.features import load_features
from heads.finetune import fine_tune
from heads.record import make_inputs, make_result, write_record
from heads.runs import Run, recording, results_folder, run_folder, same_run, warn_of_leakage, write_run
from heads.separability import measure_separability
from heads.stacked import TrainedHead, train_heads

log = logging.getLogger("featcache")


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
    """Train the heads that `options` describes on cached features, extracting first what the cache lacks; with an
    `unfreeze_schedule` backbone and head end to end (`heads.finetune.fine_tune`).

    Accepts an Options or a plain dict. Each call is a fresh experiment, and each set of options has a folder of its
    own; with `reuse`, a finished run of the same options on the same rows is given back instead of replaced. Raises
    InputError before any work when the options cannot be followed, and NonFiniteError when no head trained to a
    finite loss.
    """
    options = options if isinstance(options, Options) else parse_options(options)
    if options.training.unfreeze_schedule is not None:
        return fine_tune(
            options,
            results_dir=results_dir,
            device=device,
            allow_custom=allow_custom,
            reuse=reuse,
            progress=progress,
            scratch=scratch,
        )
    place = pick_device(device)
    with results_folder(Path(results_dir)):
        fill = partial(extract_joined, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
        return _train(options, Path(results_dir), place, fill, reuse)


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
        inputs = make_inputs(options, joined, device_name(place))
        if reuse and (known := same_run(folder, inputs)) is not None:
            log.info("%s: finished before with the same options on the same rows", folder)
            warn_of_leakage(known)
            return known
        return write_run(folder, log_lines, lambda partial: _train_into(partial, options, joined, inputs, place))


trainModel = train_model  # noqa: N816  the name that users' search loops call


def _train_into(folder: Path, options: Options, joined: Joined, inputs: dict[str, Any], device: torch.device) -> None:
    """Write every file of a run into `folder`."""
    features = load_features(joined, device, folds=options.data.folds, limit_bytes=options.cache.max_features_gb * 1e9)
    begin = time.perf_counter()
    trained = train_heads(
        features, run_heads(options, joined.dims, len(features.folds)), batch_size=options.data.batch_size
    )
    seconds = time.perf_counter() - begin
    seeds = _finite_seeds(options, trained, len(features.folds))
    predictions: dict[Split, Predictions] = {
        "val": predict_val(features, seeds, joined),
        "test": predict_test(joined, [head for folds in seeds for head in folds], device),
    }
    result = make_result(options, seeds, predictions, seconds)
    separation = measure_separability(joined, Path(options.cache.dir))
    write_record(folder, options, joined, inputs, replace(result, separation=separation), device)


def run_heads(options: Options, dims: tuple[int, ...], folds: int) -> list[Head]:
    """The heads of a run: for each seed one, or one for each fold."""
    training, dropout = options.training, options.model.dropout
    return [Head(dims, training, seed, dropout, fold) for seed in training.seed_list for fold in range(folds)]


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
