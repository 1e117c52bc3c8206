"""A combination or a soup as its command shows it: a table of its members and what they come to, sentences, or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from featcache.app.shared_options import Shared
    from heads.runs import Run


def show_average(run: Run, kind: Literal["combination", "soup"], shared: Shared) -> None:
    """What came of it, for people and for --json."""
    from featcache.app.progress import consoles

    average = run.summary[kind]
    cost = {name: run.performance[name] for name in ("latency_ms", "macs", "params_backbone", "params_head", "device")}
    figures = {split: run.summary[split] for split in ("val", "test")}
    shared.answer({"run": run.folder.name, **figures, **cost, **average})
    out = consoles()[0]
    out.print({"combination": combination_table, "soup": soup_table}[kind](run))
    for line in average["said"]:
        out.print(f"- {line}", markup=False, highlight=False)
    typer.echo(f"{run.folder}: predict, serve, export and report take it as any run", err=shared.speaks_json)


def combination_table(run: Run) -> Table:
    """A row for each member, the heaviest first, then for the averages."""
    combined = run.summary["combination"]
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    table.add_column("run", overflow="fold")
    table.add_column("backbone", overflow="fold")
    for name in ("weight", "val top-1 [95%]", "test top-1 [95%]"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in sorted(combined["members"], key=lambda one: -one["weight"]):
        weight = f"{one['weight']:.2f}" if one["weight"] else "-"
        table.add_row(*map(Text, (one["run"], one["backbone"], weight, *_accuracies(one))))
    table.add_row()
    if combined["parts"]:
        table.add_row("", "plain average", "", *_accuracies(combined["plain_average"]))
    table.add_row(*map(Text, (run.folder.name, "combined", "1.00", *_accuracies(run.summary))), style="bold")
    return table


def soup_table(run: Run) -> Table:
    """A row for each member in the order they were named, then for the average of those that take part."""
    soup = run.summary["soup"]
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    table.add_column("run", overflow="fold")
    for name in ("takes part", "val top-1 [95%]", "test top-1 [95%]"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in soup["members"]:
        table.add_row(*map(Text, (one["run"], "yes" if one["taken"] else "-", *_accuracies(one))))
    table.add_row()
    table.add_row(*map(Text, (run.folder.name, "", *_accuracies(run.summary))), style="bold")
    return table


def _accuracies(figures: Mapping[str, Any]) -> tuple[str, str]:
    found = [figures[split]["top1"] for split in ("val", "test")]
    val, test = (f"{one['mean']:.3f} [{one['ci95'][0]:.3f}, {one['ci95'][1]:.3f}]" for one in found)
    return val, test
