"""An image in a cell of a Parquet or Arrow file, read alone or with its neighbours; the door to pyarrow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.data.file_formats import missing_package
from featcache.data.sources.archive_members import why_refused
from featcache.data.sources.kept_values import Kept
from featcache.errors import DataError
from featcache.places import NoContentError, file_stamp

KEPT_BYTES = 1 << 30  # of row groups: a cell of Parquet cannot be read without its neighbours
MOST_GROUP = 8 << 30  # bytes of one row group
MOST_OPEN = 1024  # Arrow files that are mapped


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell: its file, its column, whether that holds records with bytes, and where in the file it is."""

    file: str
    column: str
    record: bool
    part: int  # row group, or chunk
    row: int  # in it
    number: int  # in the file

    @property
    def key(self) -> str:
        """The file, the column and the row."""
        return f"{self.file}\0{self.column}[{self.number}]"

    @property
    def position(self) -> tuple[str, int]:
        """As it lies in the file."""
        return self.file, self.number

    def stamp(self) -> tuple[int, int]:
        """Of the file."""
        return file_stamp(self.file)

    def _bytes(self, array: Any) -> bytes:
        cell = array[self.row]
        size = cell.as_buffer().size if cell.is_valid else None
        if size is None:
            more = ", and no path" if self.record else ""
            raise NoContentError(f"there are no bytes in row {self.number + 1}{more}")
        refused = why_refused(size)
        if refused is not None:
            raise NoContentError(refused)
        data: bytes = cell.as_py()
        return data


@dataclass(frozen=True, slots=True)
class ParquetCell(_Cell):
    """A cell of a Parquet file."""

    def read(self) -> bytes:
        """The cell's bytes."""
        return self._bytes(_groups.get((self.file, file_stamp(self.file), self.column, self.part), self._group))

    def _group(self) -> Any:
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(self.file) as opened:
                size = opened.metadata.row_group(self.part).total_byte_size
                if size > MOST_GROUP:
                    raise NoContentError(
                        f"its row group has {size} bytes, more than {MOST_GROUP}: write the file with smaller ones"
                    )
                name = f"{self.column}.bytes" if self.record else self.column
                column = opened.read_row_group(self.part, columns=[name]).column(0).combine_chunks()
        except NoContentError:  # says all there is to say
            raise
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the file
                raise
            raise NoContentError(f"broken in the file ({' '.join(str(error).split())})") from None
        return column.field("bytes") if self.record else column


@dataclass(frozen=True, slots=True)
class ArrowCell(_Cell):
    """A cell of an Arrow file, which is mapped: nothing beside it is read."""

    def read(self) -> bytes:
        """The cell's bytes."""
        array = mapped_table(self.file).column(self.column).chunk(self.part)
        return self._bytes(array.field("bytes") if self.record else array)


_groups = Kept(KEPT_BYTES, lambda array: int(array.nbytes))
_mapped = Kept(MOST_OPEN, lambda _: 1)


def mapped_table(file: str) -> Any:
    """The table of an Arrow file, mapped into memory; raises OSError, or ValueError where it is none."""
    return _mapped.get((file, file_stamp(file)), lambda: _map(file))


def _map(file: str) -> Any:
    import pyarrow

    source = pyarrow.memory_map(file)
    try:
        table = pyarrow.ipc.open_stream(source).read_all()
    except pyarrow.ArrowInvalid:
        table = pyarrow.ipc.open_file(source).read_all()
    table.validate(full=True)  # else whatever offsets it has are believed
    return table


def require_pyarrow(file: Path) -> None:
    """Raise DataError where pyarrow, which reads `file`, cannot be imported."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        reason = missing_package("Parquet and Arrow", "pyarrow", "tables", error)
        raise DataError(f"data.path: {file}: {reason}. Or save the table as CSV.") from None
