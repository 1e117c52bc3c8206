"""Predictions as CSV, JSON lines or Parquet: to a file that is whole or not there, or to a stream."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from featcache.atomic import replacing, require_writable
from featcache.errors import OutputError
from featcache.table_cells import inert
from heads.predict.prediction_rows import PredictionRow

Write = Callable[[PredictionRow], None]
FORMATS = ("csv", "jsonl", "parquet")
ROWS_AT_ONCE = 10_000  # of Parquet


def format_of(file: Path, given: str | None) -> str:
    """The format of a file: the one that is given, else by its ending; raises OutputError where there is neither."""
    wanted = given if given is not None else file.suffix.lower().removeprefix(".")
    if wanted in FORMATS:
        return wanted
    what = f"--format {given}" if given is not None else f"--out {file}: its ending says no format"
    raise OutputError(f"{what}. Expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")


@contextmanager
def prediction_file(file: Path, form: str, top: int) -> Iterator[Write]:
    """Where rows are written; the file is there when the block ends well. Raises OutputError where it cannot be."""
    if form == "parquet":
        _require_pyarrow()
    require_writable(file, "--out")
    with replacing(file) as temporary:
        if form == "parquet":
            with _parquet(temporary, top) as write:
                yield write
        else:
            with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
                yield text_writer(stream, form, top)


def text_writer(stream: TextIO, form: str, top: int) -> Write:
    """Where rows are written as CSV, with a header, or JSON lines."""
    if form == "jsonl":

        def write_line(row: PredictionRow) -> None:
            stream.write(json.dumps(row_values(row), ensure_ascii=False) + "\n")

        return write_line
    table = csv.writer(stream, lineterminator="\n")
    columns = _columns(top)
    table.writerow(columns)

    def write(row: PredictionRow) -> None:
        flat = _flat(row, top)
        table.writerow([_cell(flat[name]) for name in columns])

    return write


def _columns(top: int) -> list[str]:
    """Of the flat formats: the second likeliest class is class_2, and so on."""
    further = [f"{what}_{n}" for n in range(2, top + 1) for what in ("class", "probability")]
    return ["image", "class", "probability", *further, "unlike_training", "as_far", "error"]


def _flat(row: PredictionRow, top: int) -> dict[str, Any]:
    flat: dict[str, Any] = dict.fromkeys(_columns(top))
    flat |= {"image": row.image, "unlike_training": row.unlike, "as_far": row.as_far, "error": row.reason or None}
    for n, (label, probability) in enumerate(row.top, 1):
        end = "" if n == 1 else f"_{n}"
        flat |= {f"class{end}": label, f"probability{end}": probability}
    return flat


def row_values(row: PredictionRow) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        "image": row.image,
        "class": row.label,
        "probability": row.probability,
        "top": [{"class": label, "probability": probability} for label, probability in row.top],
        "unlike_training": row.unlike,
        "as_far": row.as_far,
        "error": row.reason or None,
    }


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else inert(str(value))


@contextmanager
def _parquet(file: Path, top: int) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    kinds = {"image": pyarrow.string(), "unlike_training": pyarrow.bool_(), "error": pyarrow.string()}
    fields = [
        (name, kinds.get(name) or (pyarrow.string() if name.startswith("class") else pyarrow.float64()))
        for name in _columns(top)
    ]
    schema, waiting = pyarrow.schema(fields), list[dict[str, Any]]()
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:

        def flush() -> None:
            writer.write_table(pyarrow.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: PredictionRow) -> None:
            waiting.append(_flat(row, top))
            if len(waiting) == ROWS_AT_ONCE:
                flush()

        yield write
        flush()


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise OutputError(
            "Parquet needs pyarrow, which is not installed. Run pip install 'featcache[tables]', or write .csv or "
            ".jsonl."
        ) from None
