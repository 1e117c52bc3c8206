"""How an audit looks on a terminal: what matters first, tables, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from featcache.audit import Audit, ExactGroup, NearGroup, Written

SHOWN = 10  # lines of each list; the audit's file has all


def print_audit(audit: Audit, console: Console) -> None:
    """Everything that a person should see first."""
    data = audit.data
    images = ", ".join(f"{n} {split}" for split, n in data.images.items())
    asked = ", ".join(f"{b.backbone} ({b.weights})" if b.weights else b.backbone for b in audit.backbones)
    _say(console, f"{data.name} ({data.path}): {len(data.classes)} classes; {images}", style="bold")
    _say(console, f"looked at by content hash{f' and by {asked}' if asked else ' alone'}")
    copies: list[ExactGroup | NearGroup] = [*audit.exact, *audit.near]
    _say(
        console,
        f"{_groups(audit.exact, 'exact copies')}; {_groups(audit.near, 'near copies')}; leaked: "
        f"{len(audit.leaked.val)} of val, {len(audit.leaked.test)} of test; "
        f"{sum(s.flagged for s in audit.suspects)} suspect labels, {sum(o.flagged for o in audit.outliers)} outliers, "
        f"{len(audit.quarantined)} files unreadable",
    )
    _list(console, "What to know", audit.warnings, all_of_them=True)
    _list(console, "Copies across splits", (_group_line(g) for g in copies if g.across_splits))
    _list(console, "Copies with different labels", (_group_line(g) for g in copies if g.conflicting_labels))
    _print_table(console, "Most suspect labels", _suspects(audit) if audit.suspects else None)
    _print_table(console, "Farthest from all others", _outliers(audit) if audit.outliers else None)
    _print_table(console, "Images", _balance(audit))
    _list(console, "Unreadable", (f"{b.name}: {b.reason}" for b in audit.quarantined))


def print_clean_list(written: Written, other: str | None, console: Console) -> None:
    """What became of the clean list, and how to use it; `other` is a list that the audit left out already."""
    said = f"{written.added} files to leave out"
    if written.kept:
        said = f"{written.added} files added to the {written.kept} that it listed, which stay"
    use = f"then use it: --set data.exclude={written.file}"
    if other is not None:
        use = f"then put it together with data.exclude ({other}): it names what is to go beside"
    _say(console, f"\n{written.file}: {said}. Look it over, {use}")


def _groups(groups: Sequence[ExactGroup] | Sequence[NearGroup], what: str) -> str:
    return f"{len(groups)} groups of {what} ({sum(g.across_splits for g in groups)} across splits)"


def _group_line(group: ExactGroup | NearGroup) -> str:
    names = ", ".join(i.name for i in group.images)
    cosine: dict[str, float] = getattr(group, "cosine", {})
    return f"{names} (cosine {', '.join(f'{c:.4f}' for c in cosine.values())})" if cosine else f"{names} (identical)"


def _suspects(audit: Audit) -> Table:
    table = _table(("file", "label", "looks like", "p label", "p other", "flagged"), right={"p label", "p other"})
    for one in audit.suspects[:SHOWN]:
        figures = (f"{one.p_label:.2f}", f"{one.p_suggested:.2f}", "yes" if one.flagged else "")
        table.add_row(Text(one.name), Text(one.label), Text(one.suggested), *figures)
    return table


def _outliers(audit: Audit) -> Table:
    table = _table(("file", "label", "score", "flagged"), right={"score"})
    for one in audit.outliers[:SHOWN]:
        table.add_row(Text(one.name), Text(one.label), f"{one.score:.1f}", "yes" if one.flagged else "")
    return table


def _balance(audit: Audit) -> Table:
    table = _table(("class", "train", "val", "test"), right={"train", "val", "test"})
    for one in audit.balance:
        table.add_row(Text(one.name), str(one.train), str(one.val), str(one.test))
    return table


def _table(names: Sequence[str], right: set[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def _print_table(console: Console, title: str, table: Table | None) -> None:
    if table is not None:
        _say(console, f"\n{title}", style="bold")
        console.print(table)


def _list(console: Console, title: str, lines: Iterable[str], *, all_of_them: bool = False) -> None:
    every = list(lines)
    if every:
        _say(console, f"\n{title}", style="bold")
    for line in every if all_of_them else every[:SHOWN]:
        _say(console, f"- {line}")
    if not all_of_them and len(every) > SHOWN:
        _say(console, f"- and {len(every) - SHOWN} more")


def _say(console: Console, line: str, style: str | None = None) -> None:
    console.print(line, markup=False, style=style)
