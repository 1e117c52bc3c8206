"""The tables of a report: what each cell says, and the number that sorts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from heads.leaderboard import MEASURES, NAMES, Agreement, Row
from heads.report.report_contents import Contents

NOTHING = "–"  # where no image is left


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number or text that its column is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: its heading, what the heading means, and a cell for each row."""

    title: str
    meaning: str
    kind: str  # "number", "text", or "number minor" of what paper has no room for
    cells: tuple[Cell, ...]


Make = Callable[[Row], Cell]
Kind = tuple[str, str, str, Make]  # a column before it has cells


def conditions(contents: Contents) -> dict[str, str]:
    """Under which conditions the latency of each run was measured: only within one of them do latencies compare."""
    return {row.run: condition(contents.runs[row.run].performance) for row in contents.rows}


def condition(performance: Mapping[str, Any]) -> str:
    """Device, precision, threads and batch size of a latency."""
    threads = f"{performance['threads']} thread{'' if performance['threads'] == 1 else 's'}"
    batch = performance["latency_ms"]["batch_size"]
    return f"{performance['device']}, {performance['precision']}, {threads}, batch {batch}"


def leaderboard_cells(contents: Contents) -> list[Column]:
    """The leaderboard by columns, what is chosen by first; those without anything to say are left out."""
    board, measured = contents.board, conditions(contents)
    rank = "= marks ties: runs that the validation images cannot tell apart"
    first: Kind = ("rank", rank, "number", lambda r: Cell(f"{r.rank}{' =' if board.tied(r) else ''}", r.rank))
    kinds = [first, *REACHED]
    if any(row.gain_top1 is not None for row in contents.rows):
        kinds.append(("gain", "val top-1 over the Phase 1 run it came from", "number", _spread("gain_top1")))
    kinds += [*COST, *NAMED]
    if len(set(measured.values())) > 1:
        meaning = "the conditions of the latency: only within one of them do latencies compare"
        kinds.append(("measured on", meaning, "text", lambda r: Cell(measured[r.run], measured[r.run])))
    return [Column(title, meaning, kind, tuple(map(make, contents.rows))) for title, meaning, kind, make in kinds]


def _number(name: str, form: str, scale: float = 1.0) -> Make:
    def make(row: Row) -> Cell:
        value = getattr(row, name)
        return Cell("", -1e300) if value is None else Cell(format(value / scale, form), value)

    return make


def _spread(name: str) -> Make:
    def make(row: Row) -> Cell:
        value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
        return Cell("", -1e300) if value is None else Cell(f"{value:.3f} [{low:.3f}, {high:.3f}]", value)

    return make


def _text(name: str) -> Make:
    return lambda row: Cell(getattr(row, name), getattr(row, name))


REACHED: tuple[Kind, ...] = (
    ("val top-1", "share of validation images right, with its 95% interval", "number", _spread("val_top1")),
    ("val top-3", "share of validation images with the label among the first three", "number", _spread("val_top3")),
    ("latency, ms", "mean of one pass of backbone and head", "number", _number("latency_ms", ".1f")),
    ("p95, ms", "95% of the passes take less", "number", _number("latency_p95_ms", ".1f")),
)
PROBE = "linear probe of the training images' features, cross-validated"
LOGME = "log evidence of a linear model, in nats per image"
COST: tuple[Kind, ...] = (
    ("test top-1", "read once, after every choice was made", "number", _number("test_top1", ".3f")),
    ("test top-3", "read once, after every choice was made", "number", _number("test_top3", ".3f")),
    ("GMACs", "multiply-adds of one image", "number", _number("macs", ".2f", 1e9)),
    ("params, M", "of backbone and head", "number", _number("params", ".1f", 1e6)),
    ("img/s", "forward passes at the run's batch size", "number minor", _number("images_per_second", ".0f")),
    ("F", "features", "number minor", _number("features", ".0f")),
    ("probe", PROBE, "number minor", _number("linear_probe", ".3f")),
    ("LogME", LOGME, "number minor", _number("logme", ".3f")),
    ("head s", "seconds that training took", "number minor", _number("head_seconds", ".1f")),
)
NAMED: tuple[Kind, ...] = (
    ("phase", "1: heads on cached features; 2: fine-tuned end to end", "number", _number("phase", ".0f")),
    ("weights", "where the backbone's weights come from", "text", _text("weights")),
    ("run", "the folder below results/", "text", _text("run")),
)


@dataclass(frozen=True)
class MeasureRow:
    """One measure of separability: how it agrees with the heads, and its value for each feature map."""

    name: str
    title: str
    agreement: Agreement | None
    values: tuple[str, ...]
    best: int | None  # the feature map with the largest value; None of the effective rank, where larger is not better


def separability_rows(contents: Contents) -> list[MeasureRow]:
    """The measures, those that agree best with the heads first."""
    agreements = {a.measure: a for a in contents.agreements}
    maps = contents.board.feature_maps
    order = sorted(MEASURES, key=lambda m: -agreements[m].tau if m in agreements else 2)
    rows = []
    for measure in order:
        values = [getattr(row, measure) for row in maps]
        known = [v for v in values if v is not None]
        if known:
            best = values.index(max(known)) if measure != "effective_rank" else None
            texts = tuple("" if v is None else f"{v:.3f}" if abs(v) < 100 else f"{v:.0f}" for v in values)
            rows.append(MeasureRow(measure, NAMES[measure], agreements.get(measure), texts, best))
    return rows


@dataclass(frozen=True)
class LeakedSplit:
    """A split with leaked images; all runs on the same data have the same ones, but for folds."""

    split: str
    title: str
    leaked: int
    n: int


@dataclass(frozen=True)
class LeakedRow:
    """Accuracies of one run with and without leaked images, three cells for each split that has any."""

    run: str
    cells: tuple[str, ...]


def leaked_splits(contents: Contents) -> list[LeakedSplit]:
    """The splits where any run was judged by leaked images."""
    found = []
    for split, title in (("val", "validation"), ("test", "test")):
        most = max((one[split] for one in contents.leakage.values()), key=lambda e: e["leaked"], default=None)
        if most is not None and most["leaked"]:
            found.append(LeakedSplit(split, title, most["leaked"], most["leaked"] + most["n_without"]))
    return found


def leakage_rows(contents: Contents) -> list[LeakedRow]:
    """The runs that leaked images change the figures of, in the order of the leaderboard."""
    splits = leaked_splits(contents)
    found = []
    for row in contents.rows:
        one = contents.leakage.get(row.run, {})
        if any(one[s.split]["leaked"] for s in splits if s.split in one):
            found.append(LeakedRow(row.run, tuple(text for s in splits for text in _with_and_without(one[s.split]))))
    return found


def _with_and_without(one: Mapping[str, Any]) -> tuple[str, str, str]:
    top1, top3 = (NOTHING if one[k] is None else f"{one[k]:.4f}" for k in ("top1_without", "top3_without"))
    return f"{one['top1']:.4f}", top1, f"{one['top3']:.4f}, {top3}"
