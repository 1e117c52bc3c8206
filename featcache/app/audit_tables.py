"""How an audit looks on a terminal: what matters first, tables, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich.table
from rich.console import Console
from rich.text import Text

from featcache.audit import Audit, ExactGroup, Grouped, NearGroup, Table, Written, group_count, terminal_views
from featcache.counted_nouns import counted

SHOWN = 10  # lines of each list; the audit's file has all


def print_audit(audit: Audit, console: Console) -> None:
    """Everything that a person should see first."""
    data = audit.data
    images = ", ".join(f"{n} {split}" for split, n in data.images.items())
    asked = ", ".join(f"{b.backbone} ({b.weights})" if b.weights else b.backbone for b in audit.backbones)
    _say(console, f"{data.name} ({data.path}): {counted(len(data.classes), 'class')}; {images}", style="bold")
    _say(console, f"looked at by content hash{f' and by {asked}' if asked else ' alone'}")
    _say(
        console,
        f"{_groups(audit.exact, 'exact copies')}; {_groups(audit.near, 'near copies')}; leaked: "
        f"{'' if audit.folds else f'{len(audit.leaked.val)} of val, '}{len(audit.leaked.test)} of test; "
        f"{counted(sum(s.flagged for s in audit.suspects), 'suspect label')}, "
        f"{counted(sum(o.flagged for o in audit.outliers), 'outlier')}, "
        f"{counted(len(audit.quarantined), 'file')} unreadable",
    )
    _list(console, "What to know", audit.warnings, most=None)
    for view in terminal_views(audit):
        if isinstance(view, Table):
            _say(console, f"\n{view.title}", style="bold")
            console.print(_drawn(view))
        else:
            _list(console, view.title, view.lines, most=SHOWN)


def print_clean_list(written: Written, other: str | None, console: Console) -> None:
    """What became of the clean list, and how to use it; `other` is a list that the audit left out already."""
    said = f"{counted(written.added, 'file')} to leave out"
    if written.kept:
        said = f"{counted(written.added, 'file')} added to the {written.kept} that it listed, which stay"
    use = f"then use it: --set data.exclude={written.file}"
    if other is not None:
        use = f"then put it together with data.exclude ({other}): it names what is to go beside"
    _say(console, f"\n{written.file}: {said}. Look it over, {use}")


def print_group_table(table: Sequence[Grouped], file: Path, console: Console) -> None:
    """What the table of groups has, and how to use it."""
    use = f"keep them together in splits that are cut and in folds: --set data.groups=csv:{file}"
    _say(
        console,
        f"\n{file}: {counted(group_count(table), 'group')} of images that show the same; look it over, then {use}",
    )


def _groups(groups: Sequence[ExactGroup] | Sequence[NearGroup], what: str) -> str:
    return f"{counted(len(groups), 'group')} of {what} ({sum(g.across_splits for g in groups)} across splits)"


def _drawn(view: Table) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in view.columns:
        table.add_column(name, justify="right" if name in view.numbers else "left", overflow="fold")
    for row in view.rows:
        table.add_row(*map(Text, row))
    return table


def _list(console: Console, title: str, lines: Sequence[str], *, most: int | None) -> None:
    if lines:
        _say(console, f"\n{title}", style="bold")
    for line in lines[:most]:
        _say(console, f"- {line}")
    if most is not None and len(lines) > most:
        _say(console, f"- and {len(lines) - most} more")


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, markup=False, style=style)
