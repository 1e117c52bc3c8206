"""The columns of the leaderboard, each declared once: from a run to a figure, its heading, its form, where it is shown.

leaderboard.csv, the table on the terminal, the page, the Markdown and the reference all follow from these entries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, get_type_hints

from featcache.separability import measures
from heads.leaderboard import corrected_columns
from heads.leaderboard.added_columns import DEPLOYED_AS, DEPLOYED_MS, SECOND_JUDGE, column_of_measure, columns_of_metric
from heads.leaderboard.column import INTERVAL, Column, PlacedRun, Value, interval_template, shown_at
from heads.training import metrics


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard: a field for each column, and `more` for those of metrics and measures."""

    rank: Annotated[
        int,
        Column(
            lambda r: r.rank,
            "= marks ties: runs that val cannot tell apart, all comparisons together; • what may be the best",
            "rank",
            "d",
            at=shown_at(0, 0, 0),
            small_first=True,
        ),
    ]
    backbone: Annotated[
        str,
        Column(lambda r: r.summary["backbone"], "model.backbone of the options", "backbone", at=shown_at(10, None, 10)),
    ]
    weights: Annotated[
        str,
        Column(
            lambda r: r.summary["weights"],
            "where the backbone's weights come from",
            "weights",
            at=shown_at(30, 160, 20),
        ),
    ]
    features: Annotated[
        int,
        Column(
            lambda r: r.summary["features"], "features", "F", ".0f", at=shown_at(40, 110), small_first=True, minor=True
        ),
    ]
    val_top1: Annotated[
        float,
        Column(
            lambda r: r.figure("val", "top1"),
            "share of validation images right, with its 95% interval",
            "val top-1",
            ".3f",
            beside=interval_template("val_top1"),
            beside_title="[95%]",
            at=shown_at(50, 10, 30),
        ),
    ]
    val_top1_std: Annotated[float, Column(lambda r: r.figure("val", "top1", "std"), "spread of val_top1 over seeds")]
    val_top3: Annotated[
        float,
        Column(
            lambda r: r.figure("val", "top3"),
            "share of validation images with the label among the first three",
            "val top-3",
            ".3f",
            beside=interval_template("val_top3"),
            beside_title="[95%]",
            at=shown_at(60, 20, 40),
            bare=frozenset({"terminal", "markdown"}),
        ),
    ]
    val_top3_std: Annotated[float, Column(lambda r: r.figure("val", "top3", "std"), "spread of val_top3 over seeds")]
    test_top1: Annotated[
        float,
        Column(
            lambda r: r.figure("test", "top1"),
            "share of test images right; read once, after every choice was made",
            "test top-1",
            ".3f",
            at=shown_at(70, 60, 50),
        ),
    ]
    test_top3: Annotated[
        float,
        Column(
            lambda r: r.figure("test", "top3"),
            "share of test images with the label among the first three; read once, after every choice was made",
            "test top-3",
            ".3f",
            at=shown_at(80, 70),
            gives_way=True,
        ),
    ]
    latency_ms: Annotated[
        float,
        Column(
            lambda r: r.performance["latency_ms"]["mean"],
            "mean of one pass of backbone and head, in ms",
            "latency ms",
            ".1f",
            beside="({latency_p95_ms:.1f})",
            beside_title="(p95)",
            at=shown_at(90, 30, 60),
            small_first=True,
            bare=frozenset({"page"}),
        ),
    ]
    latency_p95_ms: Annotated[
        float,
        Column(
            lambda r: r.performance["latency_ms"]["p95"],
            "95% of the passes take less, in ms",
            "p95 ms",
            ".1f",
            at=shown_at(page=40),
            small_first=True,
        ),
    ]
    macs: Annotated[
        int,
        Column(
            lambda r: r.performance["macs"],
            "multiply-adds of one image",
            "GMACs",
            ".2f",
            1e9,
            at=shown_at(100, 80, 70),
            small_first=True,
        ),
    ]
    params: Annotated[
        int,
        Column(
            lambda r: r.performance["params_backbone"] + r.performance["params_head"],
            "parameters of backbone and head",
            "params M",
            ".1f",
            1e6,
            at=shown_at(110, 90, 80),
            small_first=True,
        ),
    ]
    images_per_second: Annotated[
        float,
        Column(
            lambda r: r.performance["images_per_second"],
            "forward passes of backbone and head at data.batch_size",
            "img/s",
            ".0f",
            at=shown_at(120, 100),
            minor=True,
            gives_way=True,
        ),
    ]
    head_seconds: Annotated[
        float,
        Column(
            lambda r: r.performance["head_seconds"],
            "seconds that training took",
            "head s",
            ".1f",
            at=shown_at(130, 140),
            small_first=True,
            minor=True,
            gives_way=True,
        ),
    ]
    phase: Annotated[
        int,
        Column(
            lambda r: r.summary["phase"],
            "1: heads on cached features; 2: fine-tuned end to end; 3: a combination of runs",
            "phase",
            ".0f",
            at=shown_at(20, 150),
            small_first=True,
        ),
    ]
    run: Annotated[
        str, Column(lambda r: r.one.run.folder.name, "the folder below results/", "run", at=shown_at(page=170))
    ]
    val_top1_low: Annotated[float, Column(lambda r: r.figure("val", "top1", "low"), f"lower {INTERVAL}")]
    val_top1_high: Annotated[float, Column(lambda r: r.figure("val", "top1", "high"), f"upper {INTERVAL}")]
    val_top3_low: Annotated[float, Column(lambda r: r.figure("val", "top3", "low"), f"lower {INTERVAL}")]
    val_top3_high: Annotated[float, Column(lambda r: r.figure("val", "top3", "high"), f"upper {INTERVAL}")]
    from_run: Annotated[
        str,
        Column(lambda r: r.one.from_run, "of Phase 2: the run whose model was fine-tuned; empty where there is none"),
    ]
    gain_top1: Annotated[
        float | None,
        Column(
            lambda r: r.gain("top1"),
            "val top-1 over the Phase 1 run it came from",
            "gain top-1",
            "+.3f",
            beside=interval_template("gain_top1", "+"),
            beside_title="[95%]",
            at=shown_at(140, 50),
        ),
    ]
    gain_top1_low: Annotated[float | None, Column(lambda r: r.gain("top1", "low"), f"lower {INTERVAL}")]
    gain_top1_high: Annotated[float | None, Column(lambda r: r.gain("top1", "high"), f"upper {INTERVAL}")]
    gain_top3: Annotated[float | None, Column(lambda r: r.gain("top3"), "val top-3 over the Phase 1 run it came from")]
    gain_top3_low: Annotated[float | None, Column(lambda r: r.gain("top3", "low"), f"lower {INTERVAL}")]
    gain_top3_high: Annotated[float | None, Column(lambda r: r.gain("top3", "high"), f"upper {INTERVAL}")]
    control: Annotated[
        str,
        Column(
            lambda r: "yes" if r.control else "",
            "yes: random weights beside pretrained ones, a control group that is not ranked among them",
        ),
    ]
    pretraining_top1: Annotated[
        float | None,
        Column(
            lambda r: r.pretraining("top1"),
            "val top-1 over the same network with random weights",
            "over random",
            "+.3f",
            beside=interval_template("pretraining_top1", "+"),
            beside_title="[95%]",
            at=shown_at(page=55),
            minor=True,
        ),
    ]
    pretraining_top1_low: Annotated[float | None, Column(lambda r: r.pretraining("top1", "low"), f"lower {INTERVAL}")]
    pretraining_top1_high: Annotated[float | None, Column(lambda r: r.pretraining("top1", "high"), f"upper {INTERVAL}")]
    may_be_best: Annotated[
        str,
        Column(lambda r: "yes" if r.may_be_best else "", "yes: at 95% the best of the feature maps is among these"),
    ]
    corrected_top1: Annotated[float | None, corrected_columns.CORRECTED_TOP1]
    corrected_top1_low: Annotated[float | None, Column(lambda r: r.corrected("low"), corrected_columns.LOWER)]
    corrected_top1_high: Annotated[float | None, Column(lambda r: r.corrected("high"), corrected_columns.UPPER)]
    corrected_by: Annotated[str, corrected_columns.CORRECTED_BY]
    corrected: Annotated[float | None, corrected_columns.CORRECTED]
    corrected_low: Annotated[float | None, Column(lambda r: r.corrected_as_ranked("low"), corrected_columns.LOWER)]
    corrected_high: Annotated[float | None, Column(lambda r: r.corrected_as_ranked("high"), corrected_columns.UPPER)]
    head: Annotated[
        str,
        Column(
            lambda r: r.head,
            "uniform: trained as the options say; tuned: by the best of several recipes for this feature map",
            "head",
            at=shown_at(15, 5, 15),
            where_varied=True,
        ),
    ]
    deployed_ms: Annotated[float | None, DEPLOYED_MS]
    deployed_as: Annotated[str, DEPLOYED_AS]
    teacher: Annotated[
        str,
        Column(
            lambda r: r.one.teacher,
            "of a student (`distill`): the run it learned from",
            "teacher",
            at=shown_at(page=58),
        ),
    ]
    recipes_tried: Annotated[int | None, corrected_columns.RECIPES_TRIED]
    recipe_added_top1: Annotated[float | None, corrected_columns.RECIPE_ADDED]
    more: Mapping[str, float | None] = field(default_factory=dict)  # by column: further metrics, and the measures

    def value(self, column: str) -> Value:
        """What a column says, by its name; None where that is not known."""
        found: Value = self.more[column] if column in self.more else self.__dict__.get(column)
        return found

    def values(self) -> dict[str, Value]:
        """What every column says, by name."""
        own = {name: value for name, value in self.__dict__.items() if name != "more"}
        return {**own, **self.more}


def columns() -> tuple[Column, ...]:
    """Every column in the order of leaderboard.csv: Row's own, then further metrics, then the measures."""
    hints = get_type_hints(Row, include_extras=True)
    own = [replace(hint.__metadata__[0], name=name) for name, hint in hints.items() if name != "more"]
    added = [metric for metric in metrics().values() if f"val_{metric.name}" not in hints]
    further = [column for metric in added for column in columns_of_metric(metric)]
    measured = [column_of_measure(place, one) for place, one in enumerate(measures().values())]
    return (*own, *further, SECOND_JUDGE, *measured)


def make_row(run: PlacedRun, every: Sequence[Column]) -> Row:
    """What each of the columns says of a run."""
    found: dict[str, Any] = {column.name: column.of(run) for column in every}
    own = {name: found.pop(name) for name in get_type_hints(Row) if name in found}
    return Row(**own, more=found)
