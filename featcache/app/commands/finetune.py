"""`featcache finetune`: Phase 2, end to end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from featcache.app.results import BOARD_ANSWER, Heads, RankBy, answer_board, show_leaderboard
from featcache.app.shared_options import TRAINING, Shared, command

if TYPE_CHECKING:
    from featcache.app.many_configs import Outcome
    from featcache.session import Session
    from heads.finetune import TuningPlan
    from heads.runs import Run

By = Literal["accuracy", "pareto", "separability"]


@command(
    *TRAINING,
    answers=BOARD_ANSWER + ", `failed`",
)
def finetune(
    shared: Shared,
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="Options files with an unfreeze_schedule; with --top or --from-run the one to train by, by default "
            "configs/phase2.json.",
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Fine-tune the leaderboard's best N backbones.")] = None,
    by: Annotated[By | None, typer.Option(help="What --top goes by; default: accuracy.")] = None,
    heads: Heads = "auto",
    rank_by: RankBy = None,
    from_run: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on from this run: with its head, or its network."),
    ] = None,
    with_heads: Annotated[
        bool, typer.Option("--with-heads", help="With --top: begin with the runs' heads, not with fresh ones.")
    ] = False,
    fresh_head: Annotated[
        bool, typer.Option("--fresh-head", help="With --from-run: begin with a fresh head, not with the run's.")
    ] = False,
    search: Annotated[
        int | None,
        typer.Option("--search", min=1, help="Try so many recipes first, and train the best with fresh seeds."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Of the search's trials, shared by all runs: 2h, 90m; the training with fresh seeds comes after it.",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What is searched; default: configs/searches/phase2.json."),
    ] = None,
) -> None:
    """Phase 2: train backbone and head end to end, unfreezing step by step; a run that was stopped goes on."""
    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started, one speaks
    with shared.working(speaks=first, ranked_after=True) as session:
        from heads.finetune import require_sound

        plans = _plans(configs or [], Choice(top, by, heads, rank_by, from_run, with_heads, fresh_head), shared)
        require_sound(plans, session.allow_custom)
        if (search, budget, space) == (None, None, None):
            outcome = _fine_tune_all(plans, session)
        else:
            outcome = _search_all(plans, session, Asked(space, search, budget))
    if first:
        _show(outcome, shared, heads, rank_by)
    outcome.raise_if_failed()


def _show(outcome: Outcome[Run], shared: Shared, heads: Heads, rank_by: str | None) -> None:
    """The leaderboard, Phase 2 beside Phase 1."""
    if not outcome.done:
        shared.answer({"rows": [], "failed": outcome.failed()})
        return
    from heads.leaderboard import Ranking

    data = outcome.done[-1].summary["data"]["fingerprint"]
    ranked = show_leaderboard(shared.results_dir, Ranking(data, heads, rank_by))
    answer_board(shared, ranked, failed=outcome.failed())
    typer.echo(f"`featcache report --results-dir {shared.results_dir}` writes the page anew.")


def _fine_tune_all(plans: list[TuningPlan], session: Session) -> Outcome[Run]:
    from featcache.app.many_configs import Outcome, run_each_of
    from heads.finetune import fine_tune_run, processes

    with (
        session.sharing_images([plan.options for plan in plans]) as sharing,
        processes(session.device) as them,  # connected once for all runs
    ):

        def work(plan: TuningPlan) -> Run:
            return fine_tune_run(plan, sharing)

        if them.count == 1:
            return run_each_of(plans, work, lambda plan: plan.options.experiment_name, session.progress)
        # A process that goes on alone after an error would wait for the others for ever.
        return Outcome(tuple(work(plan) for plan in plans), ())


@dataclass(frozen=True)
class Asked:
    """The search of recipes, as it was asked for."""

    space: str | None
    trials: int | None
    budget: str | None


def _search_all(plans: list[TuningPlan], session: Session, asked: Asked) -> Outcome[Run]:
    """The best recipe of each plan; a budget is shared by them evenly."""
    from featcache.app.many_configs import run_each_of
    from heads.recipes import load_recipe_search, search_recipe

    search = load_recipe_search(asked.space, trials=asked.trials, budget=asked.budget)
    if search.budget is not None:
        search = search.model_copy(update={"budget": search.budget / len(plans)})

    def work(plan: TuningPlan) -> Run:
        return search_recipe(plan, search, session).run

    with session.sharing_images([plan.options for plan in plans]) as sharing:
        session = sharing
        return run_each_of(plans, work, lambda plan: plan.options.experiment_name, session.progress)


@dataclass(frozen=True)
class Choice:
    """Which Phase 1 runs to go on from, as it was asked for."""

    top: int | None
    by: By | None
    heads: Heads
    rank_by: str | None
    from_run: Path | None
    with_heads: bool
    fresh_head: bool


def _plans(configs: list[str], choice: Choice, shared: Shared) -> list[TuningPlan]:
    """What `finetune` was asked for; raises OptionsError for what does not go together."""
    top, by, from_run = choice.top, choice.by, choice.from_run
    from featcache.errors import OptionsError
    from heads.finetune import TuningPlan, plan_from_run, plan_top
    from heads.leaderboard import Ranking

    asked = {
        "--by": by is not None,
        "--heads": choice.heads != "auto",
        "--rank-by": choice.rank_by is not None,
        "--with-heads": choice.with_heads,
    }
    if top is None and any(asked.values()):
        name = next(name for name, given in asked.items() if given)
        raise OptionsError(f"finetune: {name} goes with --top N, which is not there.")
    if choice.fresh_head and from_run is None:
        raise OptionsError("finetune: --fresh-head goes with --from-run FOLDER, which is not there.")
    if top is None and from_run is None:
        if not configs:
            raise OptionsError("finetune: say what: --top N, --from-run FOLDER, or options files (CONFIG...).")
        return [TuningPlan(options) for options in shared.load(configs)]
    if top is not None and from_run is not None:
        raise OptionsError("finetune: --top and --from-run are two ways to choose runs. Give one of them.")
    if len(configs) > 1:
        raise OptionsError(f"finetune: --top and --from-run take one CONFIG to train by, got {len(configs)}.")
    config = configs[0] if configs else None
    if from_run is not None:
        keep = not choice.fresh_head
        return [plan_from_run(from_run, config=config, overrides=shared.overrides, keep_head=keep)]
    assert top is not None
    return plan_top(
        shared.results_dir,
        top,
        by or "accuracy",
        config=config,
        overrides=shared.overrides,
        keep_heads=choice.with_heads,
        ranking=Ranking(heads=choice.heads, rank_by=choice.rank_by),
    )
