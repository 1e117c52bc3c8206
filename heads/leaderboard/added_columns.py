"""The columns that follow from metrics, measures of separability and exports: built in, or brought by packages."""

from __future__ import annotations

from functools import partial

from featcache.separability import Measure
from heads.leaderboard.column import INTERVAL, Column, PlacedRun, interval_template, shown_at
from heads.training import Metric

SECOND_JUDGE = Column(
    lambda r: r.probed_on_val(),
    "logistic regression trained on all training images, its C chosen among them alone: the share of val right",
    "logistic val",
    ".3f",
    at=shown_at(page=119, markdown=89),
    minor=True,
    name="logistic_probe_val",
)
# Of runs that were exported and timed.
DEPLOYED_MS = Column(
    lambda r: r.deployed.mean_ms if r.deployed else None,
    "mean of one pass of the run's fastest ONNX export that `featcache profile` has timed, in ms",
    "ONNX ms",
    ".1f",
    at=shown_at(95, 35, 65),
    small_first=True,
)
DEPLOYED_AS = Column(lambda r: r.deployed.called if r.deployed else "", "which export that is, and on which provider")


def columns_of_metric(metric: Metric) -> list[Column]:
    """The columns of a metric that Row does not have: on val with its interval, and on test. Of a whole split they
    stand on the page alone, where there is room; the loss, which breaks ties, in leaderboard.csv."""
    name, hidden = f"val_{metric.name}", metric.name == "loss"
    val = Column(
        partial(_figure, "val", metric.name, "mean"),
        f"{metric.meaning}, on val",
        f"val {metric.title}",
        ".3f",
        beside=interval_template(name),
        beside_title="[95%]",
        at={} if hidden else shown_at(page=74) if metric.whole else shown_at(65, 25, 45),
        bare=frozenset({"terminal", "markdown"}),
        small_first=not metric.larger_is_better,
        minor=metric.whole,
        name=name,
    )
    ends = [
        Column(partial(_figure, "val", metric.name, end), f"{side} {INTERVAL}", name=f"{name}_{end}")
        for end, side in (("low", "lower"), ("high", "upper"))
    ]
    test = Column(
        partial(_figure, "test", metric.name, "mean"),
        f"{metric.meaning}, on test",
        f"test {metric.title}",
        ".3f",
        at={} if hidden else shown_at(page=75),
        small_first=not metric.larger_is_better,
        minor=True,
        name=f"test_{metric.name}",
    )
    return [val, *ends, test]


def _figure(split: str, metric: str, part: str, run: PlacedRun) -> float | None:
    return run.figure(split, metric, part)


def column_of_measure(place: int, one: Measure) -> Column:
    """The column of a measure of separability; Phase 2 runs have none."""
    order = shown_at(136 if one.on_terminal else None, 120 + place, 90 + place) if one.heading else {}
    return Column(partial(_measured, one.name), one.meaning, one.heading, ".3f", at=order, minor=True, name=one.name)


def _measured(name: str, run: PlacedRun) -> float | None:
    found: float | None = (run.summary["separability"] or {}).get(name)
    return found
