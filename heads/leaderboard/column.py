"""What a column of the leaderboard is: how its figure is taken from a run, and how and where people see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from featcache.statistics import Corrected
from heads.leaderboard.compared_heads import kind_of
from heads.leaderboard.compared_run import ComparedRun
from heads.leaderboard.deployed_latency import DeployedLatency, deployed_latency
from heads.training import find_metric

Value = str | int | float | None
INTERVAL = "end of the 95% interval over seeds and images"
Place = Literal["terminal", "page", "markdown"]


@dataclass(frozen=True)
class PlacedRun:
    """A run on its place: what a row's figures are taken from."""

    rank: int
    one: ComparedRun
    start: ComparedRun | None  # of Phase 2: the run that it came from, where that is among those compared
    control: bool = False  # whether it stands in the control group: random weights beside pretrained ones
    twin: ComparedRun | None = None  # of a pretrained one: the control of the same network
    may_be_best: bool = False  # of Phase 1: whether it may be the best of them
    best: Mapping[str, Corrected] = field(default_factory=dict)  # of the best of its phase: corrected figures by metric
    by: str = "top1"  # the metric that they are ranked by

    @property
    def summary(self) -> dict[str, Any]:
        """The run's summary.json."""
        return self.one.run.summary

    @property
    def performance(self) -> dict[str, Any]:
        """The run's performance.json."""
        return self.one.run.performance

    @property
    def deployed(self) -> DeployedLatency | None:
        """The run's fastest export, at the batch size of its own latency."""
        return deployed_latency(self.one.run.folder, self.performance["latency_ms"]["batch_size"])

    def figure(self, split: str, metric: str, part: str = "mean") -> float | None:
        """A metric on val or test: its `mean`, `std` over seeds, or the `low` or `high` end of its 95% interval."""
        found = self.summary[split].get(metric)  # a metric of a package may not have been there when the run was made
        if found is None:
            return None
        ends: list[float] = found["ci95"]
        return float({"mean": found["mean"], "std": found["std"], "low": ends[0], "high": ends[1]}[part])

    def gain(self, metric: str, part: str = "mean") -> float | None:
        """What fine-tuning brought in a metric of val, or an end of its 95% interval; None where that is not known."""
        return self._over(self.start, metric, part)

    def pretraining(self, metric: str, part: str = "mean") -> float | None:
        """What pretrained weights bring over random ones, in the same way."""
        return self._over(self.twin, metric, part)

    @property
    def head(self) -> str:
        """`uniform`: by the recipe that the options say; `tuned`: by the best for this feature map; "" in Phase 2."""
        if self.summary["phase"] != 1:
            return ""
        return kind_of(self.one.run)

    def probed_on_val(self) -> float | None:
        """The share of val that logistic regression gets right; None where the run is older, or of Phase 2."""
        found = self.summary.get("logistic_probe")
        return None if found is None else float(found["val"]["top1"]["mean"])

    def _over(self, other: ComparedRun | None, metric: str, part: str) -> float | None:
        if other is None:
            return None
        difference = self.one.difference(other, metric)
        return {"mean": difference.mean, "low": difference.low, "high": difference.high}[part]

    def corrected(self, part: str, metric: str = "top1") -> float | None:
        """A metric of the best of its phase corrected for its choice, or an end of its interval; None of others."""
        found = self.best.get(metric)
        if found is None:
            return None
        if find_metric(metric).larger_is_better:
            return {"mean": found.mean, "low": found.low, "high": found.high}[part]
        return {"mean": -found.mean, "low": -found.high, "high": -found.low}[part]  # they are kept larger better

    @property
    def corrected_by(self) -> str:
        """The metric of the ranking, where that is another than top-1 and the run is the best by it."""
        return self.by if self.by != "top1" and self.by in self.best else ""

    def corrected_as_ranked(self, part: str) -> float | None:
        """`corrected` in that metric; None where there is none."""
        return self.corrected(part, self.by) if self.corrected_by else None


class Values(Protocol):
    """A row: what each column says of a run."""

    def value(self, column: str) -> Value:
        """Of one column."""

    def values(self) -> Mapping[str, Value]:
        """Of all."""


@dataclass(frozen=True)
class Column:
    """One column: `of` a run its value, and how people see it."""

    of: Callable[[PlacedRun], Value]
    meaning: str  # a line: what it says, with its unit
    title: str = ""  # its heading; "" where leaderboard.csv alone has it
    form: str = ""  # of a number, as `format` takes it
    scale: float = 1.0  # that a number is divided by before it is shown
    beside: str = ""  # what stands behind the figure, such as its interval, as a template of the row's columns
    beside_title: str = ""  # behind the heading
    at: Mapping[Place, int] = field(default_factory=dict)  # where it is shown, by the order there
    bare: frozenset[Place] = frozenset()  # where it is shown without what stands behind it
    small_first: bool = False  # whether sorting begins with the smallest
    minor: bool = False  # paper and narrow screens have no room for it
    where_varied: bool = False  # shown only where not all rows say the same
    gives_way: bool = False  # on a terminal, where there are gains to show
    name: str = ""  # in leaderboard.csv: the field of Row that it is declared at

    def heading(self, place: Place) -> str:
        """What stands above it."""
        full = self.beside_title and place not in self.bare
        return f"{self.title} {self.beside_title}" if full else self.title

    def tells(self, values: Sequence[Value]) -> bool:
        """Whether it has something to say of rows with these values."""
        return any(value is not None for value in values) and not (self.where_varied and len(set(values)) == 1)

    def text(self, row: Values, place: Place) -> str:
        """What it says of a row; "" where that is not known."""
        value = row.value(self.name)
        if value is None:
            return ""
        number = value if isinstance(value, str) or self.scale == 1 else value / self.scale
        shown = format(number, signless_zero(self.form))
        if not self.beside or place in self.bare:
            return shown
        return f"{shown} {self.beside.format(**row.values())}"


def interval_template(name: str, sign: str = "") -> str:
    """The 95% interval of a column, from the columns of its ends."""
    return f"[{{{name}_low:{sign}z.3f}}, {{{name}_high:{sign}z.3f}}]"


def signless_zero(form: str) -> str:
    """A format that shows what rounds to 0 without a minus."""
    return form.replace(".", "z.") if form.endswith("f") else form


def shown_at(terminal: int | None = None, page: int | None = None, markdown: int | None = None) -> dict[Place, int]:
    """Where a column is shown, by the order there; None where it is not."""
    places: dict[Place, int | None] = {"terminal": terminal, "page": page, "markdown": markdown}
    return {place: order for place, order in places.items() if order is not None}
