"""`featcache combine`: finished runs as one, by the average of their probabilities."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from featcache.app.named_run import named_run, run_names
from featcache.app.results import Heads, RankBy
from featcache.app.shared_options import Shared, command
from featcache.errors import OptionsError

Weights = Literal["equal", "fitted"]


@command(
    *("results_dir", "json_file", "verbose", "quiet"),
    answers="`run`, `members`, `val`, `test`, what it costs, `said`",
)
def combine(
    shared: Shared,
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Finished runs: a folder, its name below results/, or place on the leaderboard.",
            autocompletion=run_names,
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="The leaderboard's best N runs instead.")] = None,
    heads: Heads = "auto",
    rank_by: RankBy = None,
    weights: Annotated[
        Weights, typer.Option(help="The same for each, or fitted on validation; default: equal.")
    ] = "equal",
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of the greedy selection that fits weights; default: 25.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder below results/; default: the runs' names.")] = None,
) -> None:
    """Average the probabilities of several runs; no network is asked."""
    if (top is None) == (not runs):
        raise OptionsError("combine: name RUN..., or give --top N for the best of the leaderboard: one of the two.")
    if top is None and (heads != "auto" or rank_by is not None):
        raise OptionsError("combine: --heads and --rank-by say which runs --top takes. Give --top, or drop them.")
    if weights == "equal" and rounds is not None:
        raise OptionsError(
            "combine: --rounds are of the selection that fits weights: give --weights fitted, or drop it."
        )
    with shared.telling():
        from featcache.app.combination_table import show_average
        from heads.combine import ROUNDS, combine_runs, runs_on_top
        from heads.leaderboard import Ranking

        if top is None:
            folders = [named_run(one, shared.results_dir, combinations=False) for one in runs or []]
        else:
            folders = runs_on_top(shared.results_dir, top, Ranking(heads=heads, rank_by=rank_by))
        run = combine_runs(folders, shared.results_dir, name=name, weights=weights, rounds=rounds or ROUNDS)
    show_average(run, "combination", shared)
