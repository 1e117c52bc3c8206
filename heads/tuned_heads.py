"""`benchmark --tuned`: the best of several recipes for a feature map, as a run of its own beside the uniform one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch

from featcache.devices import device_name
from featcache.errors import NonFiniteError, OptionsError, RunError
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import MAX_NAME, Options, as_options, require_frozen
from featcache.session import Session, SessionKeywords
from heads.experiment import heads_result, seeds_of, train_options
from heads.runs import (
    Result,
    Run,
    load_run_record,
    make_inputs,
    recording,
    results_folder,
    same_run,
    val_outcomes,
    warn_of_leakage,
    write_record,
    write_run,
)
from heads.training import (
    Features,
    Recipe,
    Score,
    TrainedHead,
    find_metric,
    load_features,
    recipe_score,
    recipes_of,
    run_heads,
    train_heads,
)

log = logging.getLogger("featcache")

SUFFIX = "-tuned"


@dataclass(frozen=True)
class _Tried:
    """The recipes that trained to a finite loss with every seed, and their heads `[recipe][seed][fold]`."""

    recipes: list[Recipe]
    heads: list[list[list[TrainedHead]]]
    scores: list[Score]
    diverged: int  # recipes of which some head has nothing to show

    @property
    def best(self) -> int:
        """The place of the best recipe; of equal ones the first."""
        return max(range(len(self.scores)), key=lambda place: (self.scores[place], -place))


def require_tunable(options: Options) -> None:
    """Raise OptionsError for options whose head cannot be tuned."""
    require_frozen(options)
    if len(options.experiment_name) + len(SUFFIX) > MAX_NAME:
        raise OptionsError(
            f"experiment_name is {options.experiment_name!r}, {len(options.experiment_name)} characters: its tuned run "
            f"adds {SUFFIX!r}, and names have at most {MAX_NAME}. Shorten it."
        )


def tune_model(options: Options | Mapping[str, Any] | str | Path, **session: Unpack[SessionKeywords]) -> Run:
    """Train every recipe of `recipes_of` with the run's seeds, and write the best as the run `<experiment_name>-tuned`.

    Best is the mean over seeds of the selection metric at each seed's best epoch. The run's options.json are those that
    were found, its val_outcomes.npz holds all recipes, and its summary.json says under `tuned` what was tried. It takes
    and raises what `train_model` does.
    """
    return tune_run(as_options(options), Session.begin(**session))


def tune_run(options: Options, session: Session) -> Run:
    """`tune_model` within a session."""
    require_tunable(options)
    with results_folder(session.results_dir), recording() as log_lines:
        cached = extract_all(options, session)
        folder = _folder(session.results_dir, options)  # which may tell of it: not before the options are sound
        inputs = make_inputs(options, cached, device_name(session.device))
        inputs["recipes"] = [asdict(recipe) for recipe in recipes_of(options)]
        if session.reuse and (known := same_run(folder, inputs)) is not None:
            log.info("%s: tuned before with the same options on the same rows", folder)
            warn_of_leakage(known)
            return known

        def write(new: Path) -> None:
            found, result = _tuned(options, cached, session.device)
            write_record(new, found, cached, inputs, result, session.device)

        return write_run(folder, log_lines, write)


def _folder(results_dir: Path, options: Options) -> Path:
    """Under the run's name with SUFFIX or, when what was tuned from other options took that, with their digest too."""
    folder = results_dir / f"{options.experiment_name}{SUFFIX}"
    if not folder.exists() or _tuned_from(folder) == options.short:
        return folder
    other = folder.with_name(f"{folder.name}-{options.short}")
    log.info("%s is taken by other options or files; this run goes to %s", folder, other)
    return other


def _tuned_from(folder: Path) -> str | None:
    try:
        summary = load_run_record(folder).summary
    except RunError:
        return None  # not a run of this version: leave it alone
    return str(summary["inputs"]["options"]) if summary.get("tuned") else None


def _tuned(options: Options, cached: CachedFeatures, device: torch.device) -> tuple[Options, Result]:
    """The options that are best, and what their heads come to."""
    features = load_features(cached, device, folds=options.data.folds, limit_bytes=options.cache.max_features_gb * 1e9)
    log.info("%s: tuning its head, %d recipes", options.model.backbone, len(recipes_of(options)))
    begin = time.perf_counter()
    tried = _try_all(options, cached, features)
    best = tried.recipes[tried.best]
    found = best.options(options).model_copy(update={"experiment_name": f"{options.experiment_name}{SUFFIX}"})
    # Weights of all recipes would not fit the memory where features are wide: the best is trained again, with the same
    # seeds to the same end.
    trained = train_options(found, cached, features)
    seconds = time.perf_counter() - begin
    heads = seeds_of(found, trained, len(features.folds))
    result = heads_result(found, cached, features, heads, seconds)
    every = [*tried.heads[: tried.best], heads, *tried.heads[tried.best + 1 :]]
    outcomes = val_outcomes(features, every, result.predictions["val"].images, tried.best)
    log.info("%s: best of %d recipes: %s", options.model.backbone, len(tried.recipes), _said(best))
    return found, replace(result, val_outcomes=outcomes, tuned=_summary(options, tried))


def _try_all(options: Options, cached: CachedFeatures, features: Features) -> _Tried:
    wanted, folds = recipes_of(options), len(features.folds)
    specs = [run_heads(recipe.options(options), cached.dims, folds) for recipe in wanted]
    trained = train_heads(
        features,
        [head for heads in specs for head in heads],
        batch_size=options.data.batch_size,
        keep_weights=False,
        keep_outcomes=True,
    )
    own = len(specs[0])
    tried = _Tried([], [], [], 0)
    for place, recipe in enumerate(wanted):
        heads = trained[place * own : (place + 1) * own]
        seeds = [heads[start : start + folds] for start in range(0, own, folds)]
        one = recipe_score(seeds, features, options.training.selection_metric)
        if one is not None:
            tried.recipes.append(recipe)
            tried.heads.append(seeds)
            tried.scores.append(one)
    if not tried.recipes:
        raise NonFiniteError(
            f"{options.experiment_name}: the loss of a head of every recipe became NaN or infinite in the first epoch. "
            "Look at the features (featcache audit)."
        )
    return replace(tried, diverged=len(wanted) - len(tried.recipes))


def _summary(options: Options, tried: _Tried) -> dict[str, Any]:
    """What summary.json says of the search; recipes in the order of val_outcomes.npz."""
    metric = options.training.selection_metric
    sign = 1.0 if find_metric(metric).larger_is_better else -1.0
    told = [
        {**asdict(recipe), metric: sign * one[0], "val_top1": one[1]}
        for recipe, one in zip(tried.recipes, tried.scores, strict=True)
    ]
    return {
        "recipes": told,
        "chosen": asdict(tried.recipes[tried.best]),
        "from": asdict(Recipe.of(options)),
        "from_experiment": options.experiment_name,
        "diverged": tried.diverged,
    }


def _said(recipe: Recipe) -> str:
    return f"learning rate {recipe.learning_rate:g}, weight decay {recipe.weight_decay:g}, normalise {recipe.normalise}"
