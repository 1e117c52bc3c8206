"""The tables of the page: leaderboard, measures, leakage; what each cell says, and what it is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featcache.counted_nouns import counted
from featcache.separability import measures
from heads.leaderboard import Agreement, Column, name_of, shown
from heads.report.report_contents import Contents

Leakage = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by run and split, as contents have it

NOTHING = "–"  # where no image is left
NOT_KNOWN = -1e300  # sorts below every figure


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the number or text that its column is sorted by."""

    text: str
    key: float | str


@dataclass(frozen=True)
class ColumnCells:
    """A column of the leaderboard as the page shows it: its heading, what the heading means, a cell for each row."""

    title: str
    meaning: str
    kind: str  # "number", "text", or "number minor" of what paper has no room for
    cells: tuple[Cell, ...]
    small_first: bool = False  # whether sorting begins with the smallest


def conditions(contents: Contents) -> dict[str, str]:
    """Under which conditions the latency of each run was measured: only within one of them do latencies compare."""
    return {row.run: condition(contents.runs[row.run].performance) for row in contents.rows}


def condition(performance: Mapping[str, Any]) -> str:
    """Device, precision, threads and batch size of a latency."""
    threads = counted(performance["threads"], "thread")
    batch = performance["latency_ms"]["batch_size"]
    return f"{performance['device']}, {performance['precision']}, {threads}, batch {batch}"


def leaderboard_cells(contents: Contents) -> list[ColumnCells]:
    """The leaderboard by columns, what is chosen by first; those without anything to say are left out."""
    found = [_cells(column, contents) for column in shown("page", contents.rows, contents.board.order[0])]
    measured = conditions(contents)
    if len(set(measured.values())) > 1:
        meaning = "the conditions of the latency: only within one of them do latencies compare"
        cells = tuple(Cell(measured[row.run], measured[row.run]) for row in contents.rows)
        found.append(ColumnCells("measured on", meaning, "text", cells))
    return found


def _cells(column: Column, contents: Contents) -> ColumnCells:
    cells = []
    for row in contents.rows:
        value = row.value(column.name)
        text = contents.board.rank_text(row) if column.name == "rank" else column.text(row, "page")
        cells.append(Cell(text, NOT_KNOWN if value is None else value))
    kind = ("number" if column.form else "text") + (" minor" if column.minor else "")
    return ColumnCells(column.title, column.meaning, kind, tuple(cells), column.small_first)


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
    known = measures()
    order = sorted(known, key=lambda m: -agreements[m].tau if m in agreements else 2)
    rows = []
    for measure in order:
        values = [row.more.get(measure) for row in maps]
        found = [v for v in values if v is not None]
        if found:
            best = values.index(max(found)) if known[measure].judges else None
            texts = tuple("" if v is None else f"{v:.3f}" if abs(v) < 100 else f"{v:.0f}" for v in values)
            rows.append(MeasureRow(measure, known[measure].title, agreements.get(measure), texts, best))
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


def leaked_splits(leakage: Leakage) -> list[LeakedSplit]:
    """The splits where any run was judged by leaked images."""
    found = []
    for split, title in (("val", "validation"), ("test", "test")):
        most = max((one[split] for one in leakage.values()), key=lambda e: e["leaked"], default=None)
        if most is not None and most["leaked"]:
            found.append(LeakedSplit(split, title, most["leaked"], most["leaked"] + most["n_without"]))
    return found


def leakage_rows(contents: Contents, leakage: Leakage) -> list[LeakedRow]:
    """The runs that leaked images change the figures of, in the order of the leaderboard."""
    splits = leaked_splits(leakage)
    found = []
    for row in contents.rows:
        one = leakage.get(row.run, {})
        if any(one[s.split]["leaked"] for s in splits if s.split in one):
            found.append(LeakedRow(row.run, tuple(text for s in splits for text in _with_and_without(one[s.split]))))
    return found


def _with_and_without(one: Mapping[str, Any]) -> tuple[str, str, str]:
    top1, top3 = (NOTHING if one[k] is None else f"{one[k]:.4f}" for k in ("top1_without", "top3_without"))
    return f"{one['top1']:.4f}", top1, f"{one['top3']:.4f}, {top3}"


def map_names(contents: Contents) -> dict[str, str]:
    """Of each feature map's run what it is called: its backbone, with its weights or its run where that is not enough;
    random weights beside pretrained ones are named."""
    maps = contents.board.feature_maps
    found = {row.run: name_of(row, maps) for row in maps}
    return {r.run: f"{r.backbone} (random)" if r.control and found[r.run] == r.backbone else found[r.run] for r in maps}
