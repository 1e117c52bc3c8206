"""`featcache benchmark`: Phase 1 in one go, from images to leaderboard and page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.commands.train import train_all
from featcache.app.results import (
    BOARD_ANSWER,
    Heads,
    RankBy,
    answer_board,
    audit_data,
    show_leaderboard,
    show_recipe_notes,
    write_page,
)
from featcache.app.shared_options import TRAINING, Configs, Shared, command

if TYPE_CHECKING:
    from featcache.app.many_configs import Outcome
    from featcache.options import Options
    from heads.runs import Run

Tuned = Annotated[
    bool,
    typer.Option("--tuned", help="Beside it, find the best of several recipes for each backbone's head: NAME-tuned."),
]


@command(
    *TRAINING,
    answers=BOARD_ANSWER + ", `report` (the page), `failed`: each config that was, with its error",
)
def benchmark(
    configs: Configs, shared: Shared, tuned: Tuned = False, heads: Heads = "auto", rank_by: RankBy = None
) -> None:
    """Phase 1 in one go: extract with every config, train its heads, rank them all."""
    rank_all(shared.load(configs), shared, tuned=tuned, heads=heads, rank_by=rank_by)[0].raise_if_failed()


def rank_all(
    options: list[Options], shared: Shared, *, tuned: bool = False, heads: Heads = "auto", rank_by: RankBy = None
) -> tuple[Outcome[Run], Path | None]:
    """The run of each, leaderboard, audit and page; and where the page is, if any run came to its end."""
    outcome = train_all(options, shared, ranked_after=True, tuned=tuned)
    if not outcome.done:
        shared.answer({"rows": [], "failed": outcome.failed()})
        return outcome, None
    from heads.leaderboard import Ranking

    data = outcome.done[-1].summary["data"]["fingerprint"]
    heads = "tuned" if tuned and heads == "auto" else heads  # what was asked for is what is shown
    ranked = show_leaderboard(shared.results_dir, Ranking(data, heads, rank_by, shared.cache_dir))
    audit_data(ranked, shared)
    show_recipe_notes(ranked)
    page = write_page(ranked, shared)
    answer_board(shared, ranked, report=page, failed=outcome.failed())
    return outcome, page
