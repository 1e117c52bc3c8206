"""The columns of the best run's figures corrected for having been chosen: top-1, and the metric of the ranking."""

from __future__ import annotations

from heads.leaderboard.column import Column, interval_template, shown_at

LOWER, UPPER = "lower end of its 95% interval", "upper end of its 95% interval"

CORRECTED_TOP1 = Column(
    lambda r: r.corrected("mean"),
    "of the best Phase 1 and the best Phase 2 run: val top-1 corrected for having been chosen",
    "corrected top-1",
    ".3f",
    beside=interval_template("corrected_top1"),
    beside_title="[95%]",
    at=shown_at(page=12),
    minor=True,
)
RECIPES_TRIED = Column(
    lambda r: r.one.searched.among if r.one.searched else None,
    "of Phase 2 with `--search`: how many recipes were tried, of which this is the best",
    "recipes",
    ".0f",
    at=shown_at(145, 57, 90),
    minor=True,
)
RECIPE_ADDED = Column(
    lambda r: r.one.searched.added.get("top1") if r.one.searched else None,
    "what that added to val top-1; corrected_top1 is without it",
)
CORRECTED_BY = Column(
    lambda r: r.corrected_by, "of the best: the metric of --rank-by, if that is not top-1 and can be corrected"
)
CORRECTED = Column(
    lambda r: r.corrected_as_ranked("mean"),
    "of the best: that metric on val, corrected for having been chosen; none where that cannot be done for its epochs",
    "corrected, as ranked",
    ".3f",
    beside=interval_template("corrected"),
    beside_title="[95%]",
    at=shown_at(page=11),
    minor=True,
)
