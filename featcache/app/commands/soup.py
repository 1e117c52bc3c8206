"""`featcache soup`: fine-tuned runs that share a start as one network, by the average of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.app.named_run import named_run
from featcache.app.shared_options import Shared, command


@command("device", "cache_dir", "results_dir", "allow_custom", "verbose", "quiet")
def soup(
    shared: Shared,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Fine-tuned runs: a folder, its name below results/, or place on the leaderboard.",
        ),
    ],
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Average all, instead of those that make it no worse on validation.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Of the folder below results/; default: the runs' names.")] = None,
    json_: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write what is shown there too; -: to standard output."),
    ] = None,
) -> None:
    """Average the weights of fine-tuned runs that share a start: one network, at the cost of one."""
    with shared.working() as session:
        from featcache.app.combination_table import show_average
        from featcache.atomic import require_writable
        from heads.soup import SoupPlan, soup_run

        if json_ not in (None, "-"):
            require_writable(Path(str(json_)), "--json")  # before any work
        folders = [named_run(one, shared.results_dir) for one in runs]
        run = soup_run(SoupPlan(folders, name, uniform, shared.overrides), session)
    show_average(run, "soup", json_)
