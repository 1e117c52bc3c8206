"""`search_recipe`: a plan of Phase 2 in, the run of its best recipe out: tried, chosen, confirmed with fresh seeds."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from featcache.atomic import make_folder, write_text
from featcache.counted_nouns import counted
from featcache.data import load_manifest
from featcache.errors import OptionsError, OutputError, WorkError
from featcache.options import MAX_NAME, load_options, parse_options
from featcache.records import digest
from featcache.session import Session
from heads.distill import require_lesson
from heads.finetune import TuningPlan, fine_tune_run, recipe_trials
from heads.recipes.recipe_space import RecipeSpace, make_recipe_space
from heads.recipes.recipe_study import RecipeStudy
from heads.recipes.recipe_trial import RecipeLoop, best_of, candidates
from heads.recipes.search_options import RecipeSearch
from heads.runs import Run, SearchedRecipe, load_run_record, results_folder, write_searched
from heads.search import OBJECTIVES, ChosenTrial, OutcomeFiles, chosen_text, judge_best

log = logging.getLogger("featcache")

FOLDER = "recipes"  # of searches, in a folder of results
SUFFIX = "-searched"
SEED_STEP = 1_000_003  # from the seed of trials to the fresh ones
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class SearchedRun:
    """The run of the best recipe with fresh seeds, the search's folder, and what is to be said."""

    run: Run
    folder: Path
    said: list[str]


def search_recipe(plan: TuningPlan, search: RecipeSearch, session: Session) -> SearchedRun:
    """Try recipes around `plan`, train the best with fresh seeds, and say what it owes to having been chosen.

    A search that was stopped goes on after its last whole trial. Raises OptionsError before any work where the space
    cannot be searched, WorkError where every trial failed.
    """
    space = _space(plan, search)
    require_lesson(plan.options)
    with results_folder(session.results_dir):
        folder = session.results_dir / FOLDER / plan.options.experiment_name
        with _held(folder):
            if not session.reuse:
                for file in (*folder.glob("*.*"), *(folder / "outcomes").glob("*")):
                    if file.is_file() and file.name != ".lock":
                        file.unlink()
            identity = _identity(plan, search, space)
            maximise = OBJECTIVES[plan.options.training.selection_metric].maximise
            study = RecipeStudy(search, space, folder, identity, maximise)
            outcomes = OutcomeFiles(folder / "outcomes")
            _try(plan, search, session, RecipeStudyParts(space, study, outcomes))
            found = candidates(study.trials)
            if not found:
                raise WorkError(f"{folder}: every recipe failed, the first: {study.trials[0].user_attrs['reason']}")
            metric = space.base.training.selection_metric
            best = best_of(found, metric)
            chosen = judge_best([metric], found, best, outcomes.read)
            _write_trials(folder / "trials.csv", study.trials, space, chosen)
            run = _confirmed(plan, search, space, best, folder, session)
            write_searched(run.folder, _searched(chosen, judge_best([metric], [best], best, outcomes.read)))
            said = [*chosen_text(chosen), *_said(run, chosen, search)]
            _write_result(folder / "search.json", search, best, chosen, run, said)
    for line in said:
        log.info("%s: %s", plan.options.experiment_name, line)
    return SearchedRun(run, folder, said)


@dataclass(frozen=True)
class RecipeStudyParts:
    """A search as it stands."""

    space: RecipeSpace
    study: RecipeStudy
    outcomes: OutcomeFiles


def _try(plan: TuningPlan, search: RecipeSearch, session: Session, parts: RecipeStudyParts) -> None:
    spent = sum(float(t.user_attrs["seconds"]) for t in parts.study.trials)
    with recipe_trials(plan.options, session, plan.from_run) as trials:
        trials.require_start(plan.options, parts.space.warm)
        loop = RecipeLoop(parts.space, parts.study, trials, parts.outcomes, search.budget, spent)
        while not loop.over(search.trials):
            trial = loop.step()
            log.info(
                "%s: trial %d (of %d) %s: %s",
                plan.options.experiment_name,
                trial.number,
                search.trials,
                STATES[trial.state],
                trial.user_attrs.get("reason")
                or f"val top-1 {trial.user_attrs['val_top1']:.4f}, loss "
                f"{trial.user_attrs['val_loss']:.4f}, {trial.user_attrs['epochs']} epochs",
            )
        if parts.study.exhausted and len(parts.study.trials) < search.trials:
            log.info("%s: that is every recipe of the space", plan.options.experiment_name)


def _space(plan: TuningPlan, search: RecipeSearch) -> RecipeSpace:
    metric, warm = plan.options.training.selection_metric, plan.from_run is not None
    if metric not in OBJECTIVES:
        raise OptionsError(
            f"finetune --search: training.selection_metric is {metric}; expected one of {', '.join(OBJECTIVES)}."
        )
    if plan.from_run is not None:
        folded = plan.options.data.folds or load_run_record(plan.from_run).summary["data"]["folds"]
        warm = not folded
        if folded and "warm" in _choices(search, "head"):
            log.warning(
                "%s: recipes begin with fresh heads alone: with data.folds the head of %s has trained on images that "
                "are held out",
                plan.options.experiment_name,
                plan.from_run,
            )
    begins_warm = warm and plan.keep_head
    return make_recipe_space(search, plan.options, warm=warm, begins_warm=begins_warm)


def _choices(search: RecipeSearch, key: str) -> Sequence[Any]:
    domain = search.space.get(key, [])
    return domain if isinstance(domain, list) else []


def _identity(plan: TuningPlan, search: RecipeSearch, space: RecipeSpace) -> str:
    """All that makes trials comparable: more of them, and more time, only go on."""
    manifest, _ = load_manifest(plan.options.data, plan.options.cache.folder)
    start = None if plan.from_run is None else load_run_record(plan.from_run).summary["inputs"]
    asked = search.model_dump(mode="json", include={"space", "seed", "pruner"})
    return digest([asked, sorted(space.distributions), plan.options.short, manifest.fingerprint, start, plan.keep_head])


def _confirmed(
    plan: TuningPlan, search: RecipeSearch, space: RecipeSpace, best: FrozenTrial, folder: Path, session: Session
) -> Run:
    options, warm = space.recipe(best.params)
    name = options.experiment_name[: MAX_NAME - len(SUFFIX)] + SUFFIX
    write_text(folder / "best.json", json.dumps({**options.as_dict(), "experiment_name": name}, indent=2) + "\n")
    first = options.training.seed_list[0]
    seeds = tuple((first + SEED_STEP + k) % 2**31 for k in range(search.confirm_seeds))
    fresh = options.training.model_copy(update={"seeds": seeds})
    confirmed = options.model_copy(update={"experiment_name": name, "training": fresh})
    log.info(
        "%s: trial %d is the best recipe, and is trained with %s", name, best.number, counted(len(seeds), "fresh seed")
    )
    return fine_tune_run(replace(plan, options=parse_options(confirmed.as_dict(), name), keep_head=warm), session)


def _searched(chosen: ChosenTrial, alone: ChosenTrial) -> SearchedRecipe:
    """What the choice among recipes added, beyond that of the epoch: the leaderboard makes that of the run's own epochs
    again; `alone` is the best one, judged as if it was the only one."""
    added = {m: max(0.0, one.added - alone.figures[m].added) for m, one in chosen.figures.items() if m in alone.figures}
    return SearchedRecipe(chosen.among, added, chosen.reason)


def _said(run: Run, chosen: ChosenTrial, search: RecipeSearch) -> list[str]:
    """The figure of the confirmed run, less what the recipe's owes to having been chosen."""
    fresh = counted(search.confirm_seeds, "fresh seed")
    said = f"confirmed with {fresh}: val top-1 {run.metrics['val_top1']:.3f}, test {run.metrics['test_top1']:.3f}"
    if (one := chosen.figures.get("top1")) is None:
        return [said]
    corrected = run.metrics["val_top1"] - max(0.0, one.added)
    return [f"{said}; less what being chosen on these val images added to the recipe's, {corrected:.3f}"]


def _write_trials(file: Path, trials: Sequence[FrozenTrial], space: RecipeSpace, chosen: ChosenTrial) -> None:
    figures = ("value", "val_top1", "val_loss", "best_epoch", "epochs", "seconds", "reason")
    stream = io.StringIO()
    keys = list(space.distributions)
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["trial", "state", "may_be_best", *figures, *keys])
    for one in trials:
        own = [one.user_attrs.get(name, "") for name in figures]
        may_be = "yes" if one.number in chosen.may_be_best else ""
        table.writerow([one.number, STATES[one.state], may_be, *own, *(one.params.get(key, "") for key in keys)])
    write_text(file, stream.getvalue())


def _write_result(
    file: Path, search: RecipeSearch, best: FrozenTrial, chosen: ChosenTrial, run: Run, said: list[str]
) -> None:
    """The search (space, trials, budget), its best recipe, its figures as found and corrected, the run with fresh
    seeds."""
    figures = {
        name: {"found": one.found, "corrected": one.mean, "low": one.low, "high": one.high, "added": one.added}
        for name, one in chosen.figures.items()
    }
    metric = load_options(run.folder / "options.json").training.selection_metric
    document = {
        "data": run.summary["data"]["fingerprint"],
        "objective": metric,
        "direction": "maximize" if OBJECTIVES[metric].maximise else "minimize",
        "search": search.model_dump(mode="json"),
        "best": {"trial": best.number, "options": best.params, **best.user_attrs},
        "chosen_among": chosen.among,
        "figures": figures,
        "confirmed": {"run": run.folder.name, **run.metrics},
        "said": said,
    }
    write_text(file, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else searches there inside the block; raises OutputError where somebody does."""
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(f"{folder}: another process searches there. Wait for it.") from None
    try:
        yield
    finally:
        lock.release()
