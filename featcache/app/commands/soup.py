"""`featcache soup`: fine-tuned runs that share a start as one network, by the average of their weights."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.named_run import named_run, run_names
from featcache.app.shared_options import Shared, command
from featcache.errors import OptionsError


@command(
    *("device", "cache_dir", "results_dir", "allow_custom", "json_file", "verbose", "quiet"),
    answers="`run`, `members`, `val`, `test`, what it costs, `said`",
)
def soup(
    shared: Shared,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Fine-tuned runs: a folder, its name below results/, or place on the leaderboard.",
            autocompletion=run_names,
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="The leaderboard's best N fine-tuned runs of one start instead.")
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Average all, instead of those that make it no worse on validation.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Of the folder below results/; default: the runs' names.")] = None,
) -> None:
    """Average the weights of fine-tuned runs that share a start: one network, at the cost of one."""
    if (top is None) == (not runs):
        raise OptionsError("soup: name RUN..., or give --top N for the best of the leaderboard: one of the two.")
    with shared.working() as session:
        from featcache.app.combination_table import show_average
        from heads.leaderboard import Ranking
        from heads.soup import SoupPlan, best_of_one_start, soup_run

        if top is None:
            folders = [named_run(one, shared.results_dir, combinations=False) for one in runs or []]
        else:
            folders = best_of_one_start(shared.results_dir, top, Ranking())
        run = soup_run(SoupPlan(folders, name, uniform, shared.overrides), session)
    show_average(run, "soup", shared)
