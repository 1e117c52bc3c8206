"""Parquet and Arrow files, those of the `datasets` library among them, become tables; bytes stay where they are.

What `datasets` knows of its columns (an image feature, class names) it writes into the schema's metadata.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from featcache.data.sources.arrow_cells import ArrowCell, ParquetCell, mapped_table, require_pyarrow
from featcache.data.sources.file_contents import require_contents
from featcache.data.sources.image_tables import Cells, ImageCell, Table
from featcache.errors import DataError
from featcache.places import ImagePlace

PARQUET = b"PAR1"
BATCH = 16_384  # rows


@dataclass(frozen=True)
class _Opened:
    """A file of either kind, alike."""

    schema: Any
    columns: Callable[[Sequence[str]], Iterator[Any]]  # batches of the named columns, or of `column.field`
    place: Callable[[str, bool], Iterator[ImagePlace]]  # of each row of a column of bytes, or of a record with bytes
    has_bytes: Callable[[str], bool]
    lacking: Callable[[str], set[int]]  # rows of a column of records that have no bytes, as far as can be told unread


def open_arrow(file: Path) -> Table:
    """The table in a Parquet or Arrow file by itself."""
    return open_together([file], file.parent)[0]


def open_together(files: Sequence[Path], root: Path) -> list[Table]:
    """The tables in several files of one data set below `root`: images are called by their paths, where each has one of
    its own, else by file and row.

    Raises DataError where one cannot be read or pyarrow is not installed.
    """
    require_pyarrow(files[0])
    opened, names = [], []
    for file in files:
        require_contents(file, "parquet", "arrow")
        with _readable(file):
            opened.append(_open(file))
            names.append(_paths(opened[-1]))
    flat = [name for own in names if own is not None for name in own]
    distinct = all(own is not None for own in names) and all(flat) and len(set(flat)) == len(flat)
    return [
        _table(file, one, _Named(own, distinct, file.relative_to(root).with_suffix("").as_posix()))
        for file, one, own in zip(files, opened, names, strict=True)
    ]


@dataclass(frozen=True)
class _Named:
    """What the images of a file are called."""

    paths: list[str] | None  # of each row, where the file has such
    distinct: bool  # whether those are names, each its own
    prefix: str  # of a row's number, where they are not


def _table(file: Path, one: _Opened, named: _Named) -> Table:
    columns = tuple(one.schema.names)
    images = frozenset(n for n, name in enumerate(columns) if _is_image(one, name))
    linked = {n: _linked(one, columns[n], named) for n in images}

    def read(chosen: Sequence[int]) -> Cells:
        plain = [_leaf(one, columns[n]) for n in chosen if n not in images]
        cells = [_cells(one, columns[n], named, linked[n]) if n in images else None for n in chosen]
        number = 0
        with _readable(file):
            for batch in one.columns(plain or columns[:1]):
                values = iter([_flat(batch.column(i)).to_pylist() for i in range(len(plain))])
                several = [islice(own, batch.num_rows) if own is not None else next(values) for own in cells]
                for row in zip(*several, strict=True):
                    number += 1
                    yield number, row

    known = _class_names(one.schema)
    return Table(
        file,
        columns,
        read,
        unit="row",
        images=images,
        linked=frozenset(n for n, rows in linked.items() if rows),
        names={n: known[c] for n, c in enumerate(columns) if c in known},
    )


def _linked(one: _Opened, column: str, named: _Named) -> set[int]:
    """The rows of a column of images that have a path instead of bytes."""
    paths = named.paths
    return set() if paths is None else {row for row in one.lacking(column) if paths[row]}


def _cells(one: _Opened, column: str, named: _Named, linked: set[int]) -> Iterator[ImageCell | str]:
    """The image of each row, or its path."""
    paths = named.paths or ()
    record = _is_record(one.schema.field(column).type)
    for row, place in enumerate(one.place(column, record)):
        name = paths[row] if named.distinct else f"{named.prefix}/{row:07d}"
        yield paths[row] if row in linked else ImageCell(place, name)


def _paths(one: _Opened) -> list[str] | None:
    """What a file calls its images; None where it does not."""
    column = next((c for c in one.schema.names if _is_image(one, c)), None)
    if column is None or not _has_path(one.schema.field(column).type):
        return None
    return [str(path or "") for batch in one.columns([f"{column}.path"]) for path in _flat(batch.column(0)).to_pylist()]


def _flat(column: Any) -> Any:
    """The only field of a record, or the column itself."""
    return column.field(0) if _is_record(column.type) else column


def _leaf(one: _Opened, column: str) -> str:
    """What to read of a column that is no image's bytes: of a record of bytes and path, the path."""
    return f"{column}.path" if _has_path(one.schema.field(column).type) else column


def _is_image(one: _Opened, column: str) -> bool:
    kind = str(one.schema.field(column).type)
    is_bytes = kind in {"binary", "large_binary"}
    return is_bytes or (_is_record(one.schema.field(column).type) and one.has_bytes(column))


def _is_record(kind: Any) -> bool:
    return str(kind).startswith("struct<")


def _has_path(kind: Any) -> bool:
    return _is_record(kind) and kind.get_field_index("path") >= 0


def _class_names(schema: Any) -> Mapping[str, tuple[str, ...]]:
    """The names that `datasets` gives the numbers of a column, for each column that has such."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: one["names"] for name, one in features.items() if isinstance(one, dict) and "names" in one}
        return {name: tuple(map(str, names)) for name, names in found.items()}
    except (KeyError, ValueError, TypeError):
        return {}


def _open(file: Path) -> _Opened:
    with file.open("rb") as stream:
        parquet = stream.read(4) == PARQUET
    return _open_parquet(file) if parquet else _open_ipc(file)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[None]:
    """What pyarrow raises inside is the reason why a file cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError, NotImplementedError) as error:  # ArrowInvalid is a ValueError
        said = " ".join(str(error).split())
        raise DataError(
            f"data.path: {file} cannot be read as Parquet or Arrow ({said}). Expected a whole file: fetch it anew."
        ) from None


def _open_parquet(file: Path) -> _Opened:
    from pyarrow import parquet

    opened = parquet.ParquetFile(file)
    meta = opened.metadata
    leaves = {meta.schema.column(n).path: n for n in range(meta.num_columns)}

    def columns(names: Sequence[str]) -> Iterator[Any]:
        with parquet.ParquetFile(file) as own:
            for batch in own.iter_batches(BATCH, columns=list(names)):  # in the file's order
                yield _Columns([batch.column(_top(name, batch.schema)) for name in names], batch.num_rows)

    def place(column: str, record: bool) -> Iterator[ImagePlace]:
        name, number = str(file), 0
        for group in range(meta.num_row_groups):
            for row in range(meta.row_group(group).num_rows):
                yield ParquetCell(name, column, record, group, row, number)
                number += 1

    def has_bytes(column: str) -> bool:
        leaf = leaves.get(f"{column}.bytes")
        if leaf is None:
            return False
        known = [meta.row_group(g).column(leaf).statistics for g in range(meta.num_row_groups)]
        return not all(s is not None and s.null_count == meta.row_group(g).num_rows for g, s in enumerate(known))

    def lacking(column: str) -> set[int]:
        leaf, found, number = leaves[f"{column}.bytes"], set[int](), 0
        for group in range(meta.num_row_groups):
            known, rows = meta.row_group(group).column(leaf).statistics, meta.row_group(group).num_rows
            if known is not None and known.null_count:
                with parquet.ParquetFile(file) as own:
                    records = own.read_row_group(group, columns=[f"{column}.bytes"]).column(0).combine_chunks()
                found.update(number + row for row in _null_rows(records))
            number += rows
        return found

    return _Opened(opened.schema_arrow, columns, place, has_bytes, lacking)


def _open_ipc(file: Path) -> _Opened:
    table = mapped_table(str(file))

    def columns(names: Sequence[str]) -> Iterator[Any]:
        from pyarrow import compute

        for batch in table.to_batches(BATCH):
            yield _Columns([_of_batch(batch, name, compute) for name in names], batch.num_rows)

    def place(column: str, record: bool) -> Iterator[ImagePlace]:
        name, number = str(file), 0
        for chunk, array in enumerate(table.column(column).chunks):
            for row in range(len(array)):
                yield ArrowCell(name, column, record, chunk, row, number)
                number += 1

    def has_bytes(column: str) -> bool:
        if table.schema.field(column).type.get_field_index("bytes") < 0:
            return False
        chunks = table.column(column).chunks
        return not chunks or any(c.field("bytes").null_count < len(c) for c in chunks)

    def lacking(column: str) -> set[int]:
        found, number = set[int](), 0
        for chunk in table.column(column).chunks:
            found.update(number + row for row in _null_rows(chunk))
            number += len(chunk)
        return found

    return _Opened(table.schema, columns, place, has_bytes, lacking)


def _null_rows(records: Any) -> Sequence[int]:
    """The rows of records that have no bytes."""
    rows: list[int] = records.field("bytes").is_null().to_numpy(zero_copy_only=False).nonzero()[0].tolist()
    return rows


def _top(name: str, schema: Any) -> str:
    """The column that `name` is, or is a field of."""
    return name if name in schema.names else name.rpartition(".")[0]


def _of_batch(batch: Any, name: str, compute: Any) -> Any:
    column, dot, field = name.partition(".")
    if name in batch.schema.names or not dot:
        return batch.column(name)
    return compute.struct_field(batch.column(column), field)


@dataclass(frozen=True)
class _Columns:
    """Columns of a batch."""

    arrays: list[Any]
    num_rows: int

    @property
    def num_columns(self) -> int:
        """How many there are."""
        return len(self.arrays)

    def column(self, number: int) -> Any:
        """One of them."""
        return self.arrays[number]
