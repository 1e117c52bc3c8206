"""Labels of a table that read as if a cell had no value: classes all the same, but said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from featcache.counted_nouns import counted
from featcache.data.sources.rows import Row

LIKE_NONE = {"nan", "none", "null", "na", "n/a", "<na>", "nil", "nat"}  # what programs write for no value


def like_none_said(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence on each such label: a class may be called so, and nobody else could tell."""
    for label in sorted(label for label in {row.label for row in rows} if label.lower() in LIKE_NONE):
        count = counted(sum(row.label == label for row in rows), "row")
        yield f"{count} with the label {label!r}, which may mean none: read as a class; data.classes leaves it out"
