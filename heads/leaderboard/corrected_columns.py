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
