"""`featcache soup`: fine-tuned runs that share a start as one network, by the average of their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.named_run import named_run
from featcache.app.shared_options import Shared, command

if TYPE_CHECKING:
    from heads.runs import Run


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
        from featcache.atomic import require_writable, write_named
        from heads.soup import SoupPlan, soup_run

        if json_ not in (None, "-"):
            require_writable(Path(str(json_)), "--json")  # before any work
        folders = [named_run(one, shared.results_dir) for one in runs]
        run = soup_run(SoupPlan(folders, name, uniform, shared.overrides), session)
    document = json.dumps(_document(run), indent=1, ensure_ascii=False)
    if json_ == "-":
        typer.echo(document)
    else:
        _show(run)
    if json_ not in (None, "-"):
        write_named(Path(str(json_)), document + "\n", "--json")
    typer.echo(f"{run.folder}: predict, serve, export and report take it as any run", err=json_ == "-")


def _document(run: Run) -> dict[str, object]:
    """What is shown, and the figures behind it."""
    cost = {name: run.performance[name] for name in ("latency_ms", "macs", "params_backbone", "params_head", "device")}
    figures = {split: run.summary[split] for split in ("val", "test")}
    return {"run": run.folder.name, **figures, **cost, **run.summary["soup"]}


def _show(run: Run) -> None:
    from featcache.app.combination_table import soup_table
    from featcache.app.progress import consoles

    out = consoles()[0]
    out.print(soup_table(run))
    for line in run.summary["soup"]["said"]:
        out.print(f"- {line}", markup=False, highlight=False)
