"""`featcache report`: from finished runs to leaderboard, page and figures."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from featcache.app.results import (
    BOARD_ANSWER,
    Heads,
    RankBy,
    answer_board,
    show_leaderboard,
    warn_of_leakage,
    write_page,
)
from featcache.app.shared_options import Shared, command
from featcache.errors import OptionsError

Form = Literal["html", "md"]


@command(
    *("results_dir", "cache_dir", "json", "verbose", "quiet"),
    answers=BOARD_ANSWER + ", `report` (the page)",
)
def report(
    shared: Shared,
    data: Annotated[
        str | None,
        typer.Option(help="Of several data sets the one in this folder, or with this fingerprint; default: the last."),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="A page to look at, or Markdown for a pull request.")] = "html",
    heads: Heads = "auto",
    rank_by: RankBy = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Write leaderboard.csv, a page (report.html) and the main figures from the finished runs; trains nothing."""
    if open_ and form != "html":
        raise OptionsError(f"report: --open shows the page, and --format {form} writes none. Drop one of the two.")
    from heads.leaderboard import Ranking, find_data

    fingerprint = find_data(shared.results_dir, data) if data is not None else None
    ranked = show_leaderboard(shared.results_dir, Ranking(fingerprint, heads, rank_by, shared.cache_dir))
    warn_of_leakage(ranked)
    file = write_page(ranked, shared, form)
    answer_board(shared, ranked, report=file)
    if open_:
        import webbrowser

        if not webbrowser.open(file.resolve().as_uri()):
            typer.echo(f"{file}: no browser could be started here; open the file by hand.", err=True)
