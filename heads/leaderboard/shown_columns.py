"""Which of the columns are shown where: on a terminal, on the page, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from heads.leaderboard.column import Column, Place, shown_at
from heads.leaderboard.columns import Row, columns

RANKED_BY: Mapping[Place, int] = shown_at(45, 8, 28)  # where the metric of the ranking stands that has no other place


def shown(place: Place, rows: Sequence[Row], by: str = "") -> list[Column]:
    """The columns that have something to say of `rows` in a place, in the order there; always that of val's metric
    `by`, which they are ranked by."""
    at = {c.name: c.at.get(place, RANKED_BY[place] if c.name == f"val_{by}" else None) for c in columns()}
    here = [column for column in columns() if at[column.name] is not None]
    told = [column for column in here if column.tells([row.value(column.name) for row in rows])]
    return sorted(told, key=lambda column: at[column.name] or 0)
