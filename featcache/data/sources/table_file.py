"""A file becomes the table that it holds, whatever wrote it, and the table rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from featcache.data.sources.arrow_tables import open_arrow
from featcache.data.sources.delimited_text import open_delimited
from featcache.data.sources.image_tables import Table
from featcache.data.sources.json_records import open_json
from featcache.data.sources.rows import Listing
from featcache.data.sources.table_columns import usual_score
from featcache.data.sources.table_rows import Part, list_parts
from featcache.options import DataOptions

# By ending; what opens it.
TABLES: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda file: open_delimited(file, usual_score),
    ".tsv": lambda file: open_delimited(file, usual_score),
    ".txt": lambda file: open_delimited(file, usual_score),
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".parquet": open_arrow,
    ".arrow": open_arrow,
    ".feather": open_arrow,
}


def list_table(path: str, options: DataOptions) -> Listing:
    """The images that a table names or holds."""
    file = Path(path)
    return list_parts([Part(open_table(file))], file, file.stem or "data", options)


def open_table(file: Path) -> Table:
    """The table in `file`; raises DataError where it cannot be read."""
    return TABLES[file.suffix.lower()](file)
