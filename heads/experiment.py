"""`train_model`: one options file becomes one run folder, by heads on cached features or end to end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from featcache.devices import device_name
from featcache.errors import NonFiniteError
from featcache.extraction import CachedFeatures, extract_all, read_plain
from featcache.options import Options, as_options
from featcache.records import Split
from featcache.separability import measure_separability
from featcache.session import Session, SessionKeywords
from heads.distill import Lesson, lesson_of, require_lesson
from heads.finetune import TuningPlan, fine_tune_run
from heads.runs import (
    Predictions,
    Result,
    Run,
    make_inputs,
    make_result,
    predict_test,
    predict_val,
    recording,
    results_folder,
    run_folder,
    same_run,
    val_outcomes,
    warn_of_leakage,
    write_record,
    write_run,
)
from heads.training import Features, TrainedHead, features_rms, load_features, run_heads, train_heads

log = logging.getLogger("featcache")


def train_model(options: Options | Mapping[str, Any] | str | Path, **session: Unpack[SessionKeywords]) -> Run:
    """Train the heads that `options` describes on cached features, extracting first what the cache lacks; with an
    `unfreeze_schedule` backbone and head end to end (`heads.finetune.fine_tune`).

    Accepts an Options, a plain dict or the path of an options file. Keywords: `results_dir`, `device`, `allow_custom`,
    `reuse`, `progress`, `scratch` (`featcache.session.SessionKeywords`). Each call is a fresh experiment, and each set
    of options has a folder of its own; with `reuse`, a finished run of the same options on the same rows is given back
    instead of replaced. Raises InputError before any work when the options cannot be followed, and NonFiniteError when
    no head trained to a finite loss.
    """
    return train_run(as_options(options), Session.begin(**session))


trainModel = train_model  # noqa: N816  the name that users' search loops call


def train_run(options: Options, session: Session) -> Run:
    """`train_model` within a session: extract what is missing, train, and write the run's folder."""
    if options.training.unfreeze_schedule is not None:
        return fine_tune_run(TuningPlan(options), session)
    with results_folder(session.results_dir), recording() as log_lines:
        require_lesson(options)
        cached = extract_all(options, session)
        lesson = lesson_of(options, cached)
        folder = run_folder(session.results_dir, options)  # which may tell of it: not before the options are sound
        inputs = {
            **make_inputs(options, cached, device_name(session.device)),
            **(lesson.inputs if lesson is not None else {}),
        }
        if session.reuse and (known := same_run(folder, inputs)) is not None:
            log.info("%s: finished before with the same options on the same rows", folder)
            warn_of_leakage(known)
            return known

        def write(new: Path) -> None:
            write_record(new, options, cached, inputs, _train_heads(options, cached, session, lesson), session.device)

        return write_run(folder, log_lines, write)


def _train_heads(options: Options, cached: CachedFeatures, session: Session, lesson: Lesson | None) -> Result:
    """What the heads of a run come to on its cached features, and how separable these are."""
    features = load_features(
        cached, session.device, folds=options.data.folds, limit_bytes=options.cache.max_features_gb * 1e9
    )
    if lesson is not None:
        features = lesson.taught(features, cached, session)
    begin = time.perf_counter()
    trained = train_options(options, cached, features)
    seconds = time.perf_counter() - begin
    result = heads_result(options, cached, features, seeds_of(options, trained, len(features.folds)), seconds)
    return result if lesson is None else replace(result, distillation=lesson.record)


def train_options(options: Options, cached: CachedFeatures, features: Features) -> list[TrainedHead]:
    """Every head of a run: each seed, each fold."""
    heads = run_heads(options, cached.dims, len(features.folds))
    return train_heads(features, heads, batch_size=options.data.batch_size, keep_outcomes=True)


def heads_result(
    options: Options, cached: CachedFeatures, features: Features, seeds: list[list[TrainedHead]], seconds: float
) -> Result:
    """What trained heads `[seed][fold]` come to on val and test, and how separable their features are."""
    predictions: dict[Split, Predictions] = {
        "val": predict_val(features, seeds, cached),
        "test": predict_test(cached, [head for folds in seeds for head in folds], features.device),
    }
    result = make_result(options, seeds, predictions, seconds)
    outcomes = val_outcomes(features, [seeds], predictions["val"].images)
    separation = measure_separability(
        cached.manifest.of("train"),
        cached.identities(),
        partial(read_plain, cached),
        options.cache.folder,
        val=cached.manifest.of("val"),
    )
    scale = features_rms(features)
    return replace(result, separation=separation, val_outcomes=outcomes, features_rms=scale)


def seeds_of(options: Options, trained: Sequence[TrainedHead], folds: int) -> list[list[TrainedHead]]:
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
