"""Every finding of an audit, declared once: what it says goes to the JSON, the terminal and the page.

To add one: what it finds in a file of its own, and its entry here. `find` gives lines, which are kept in the JSON under
`further` and shown below the entry's title; `say` gives sentences, for which `audit.lines(name)` has the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from featcache.audit.audit_records import Audit, Further
from featcache.audit.class_balance import balance_said, class_table, image_table
from featcache.audit.copy_findings import (
    across_lines,
    conflict_lines,
    conflicts_said,
    copy_pictures,
    leaks_said,
    within_said,
)
from featcache.audit.evidence import Evidence
from featcache.audit.finding_views import Lines, PageView, TerminalView
from featcache.audit.label_findings import labels_said, suspect_pictures, suspect_table
from featcache.audit.not_looked_at import not_looked_at_said
from featcache.audit.outlier_findings import outlier_pictures, outlier_table, outliers_said
from featcache.audit.unreadable_findings import gone_said, unreadable_files, unreadable_lines, unreadable_said

View = TypeVar("View", TerminalView, PageView)


@dataclass(frozen=True)
class Finding:
    """One thing that an audit looks for; what has no views of its own shows the lines it found."""

    name: str
    title: str
    say: Callable[[Audit], Iterable[str]] = lambda _: ()  # sentences for people
    find: Callable[[Evidence], Iterable[str]] | None = None  # lines; None of what has keys of its own in the JSON
    terminal: Callable[[Audit], Iterable[TerminalView]] | None = None
    page: Callable[[Audit], Iterable[PageView]] | None = None


# The most serious first: so sentences, and views of one rank, are in order.
FINDINGS: tuple[Finding, ...] = (
    Finding("leaks", "Copies across splits", leaks_said, terminal=across_lines, page=copy_pictures),
    Finding("conflicts", "Copies with different labels", conflicts_said, terminal=conflict_lines),
    Finding(
        "unreadable", "Files that cannot be read", unreadable_said, terminal=unreadable_lines, page=unreadable_files
    ),
    Finding("gone", "Classes without an image in a split", gone_said),
    Finding("labels", "Suspect labels", labels_said, terminal=suspect_table, page=suspect_pictures),
    Finding("copies", "Copies within a split", within_said),
    Finding("outliers", "Outliers", outliers_said, terminal=outlier_table, page=outlier_pictures),
    Finding("balance", "Class balance", balance_said, terminal=image_table, page=class_table),
    Finding("not_looked_at", "What was not looked at", not_looked_at_said),
)


def further(evidence: Evidence) -> tuple[Further, ...]:
    """What the findings without keys of their own find, one record for each that looked."""
    return tuple(Further(f.name, f.title, tuple(f.find(evidence))) for f in FINDINGS if f.find is not None)


def warnings(audit: Audit) -> tuple[str, ...]:
    """Sentences on what was found, and on what was not looked at."""
    return tuple(sentence for finding in FINDINGS for sentence in finding.say(audit))


def is_complete(audit: Audit) -> bool:
    """Whether all that is looked for today was looked for when the audit was made."""
    return {one.name for one in audit.further} >= {f.name for f in FINDINGS if f.find is not None}


def terminal_views(audit: Audit) -> list[TerminalView]:
    """What a terminal shows of the audit, from top to bottom."""
    return _views(audit, [(finding.name, finding.terminal) for finding in FINDINGS])


def page_views(audit: Audit) -> list[PageView]:
    """What a page shows of the audit, from top to bottom."""
    return _views(audit, [(finding.name, finding.page) for finding in FINDINGS])


def _views(audit: Audit, makers: list[tuple[str, Callable[[Audit], Iterable[View]] | None]]) -> list[View]:
    """In the order of the findings and of ranks; then what an audit by another installation found beside."""
    records = {one.name: one for one in audit.further}
    found: list[View] = []
    for name, make in makers:
        found += make(audit) if make is not None else _lines(records.get(name))
    known = {name for name, _ in makers}
    for one in audit.further:
        found += _lines(one) if one.name not in known else ()
    return sorted((v for v in found if not isinstance(v, Lines) or v.lines), key=lambda view: view.rank)


def _lines(record: Further | None) -> Iterator[Lines]:
    if record is not None:
        yield Lines(record.title, record.lines)
