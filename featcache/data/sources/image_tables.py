"""A table of images as its readers give it: columns, and rows of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from featcache.errors import DataError
from featcache.places import ImagePlace


@dataclass(frozen=True, slots=True)
class ImageCell:
    """A cell that holds an image's bytes, and what the image is called."""

    place: ImagePlace
    name: str


Cells = Iterator[tuple[int, Sequence[Any]]]


@dataclass(frozen=True)
class Table:
    """A table that is open for reading; of its cells nothing is kept."""

    file: Path
    columns: tuple[str, ...]
    read: Callable[[Sequence[int]], Cells]  # the columns of these numbers: of each row its number and their cells
    unit: str = "line"  # what its rows are counted in
    images: frozenset[int] = frozenset()  # columns of ImageCell
    linked: frozenset[int] = frozenset()  # those of them in which some cells are paths instead
    names: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # what the numbers in a column stand for
    notices: tuple[str, ...] = ()

    def row(self, number: int) -> str:
        """A row's number in words."""
        return f"{self.unit} {number}"


class CellError(Exception):
    """A cell holds what it cannot mean; the message goes on after "line 7 has"."""


def text_of(cell: Any) -> str:
    """What a cell says: "" for nothing, a whole number without a decimal point; raises CellError for a record."""
    if type(cell) is str:
        return cell.strip()
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dict | list):
        if not cell:
            return ""
        raise CellError(f"{cell!r:.80} where a text or a number is expected")
    return str(cell).strip()


def first_texts(table: Table, column: int, most: int) -> Iterator[str]:
    """What the first `most` cells of a column say, less those that say nothing or hold images; raises DataError."""
    texts = ((number, cell) for number, (cell,) in table.read([column]) if not isinstance(cell, ImageCell))
    for number, cell in islice(texts, most):
        try:
            text = text_of(cell)
        except CellError as error:
            raise bad_cell(table, number, error) from None
        if text:
            yield text


def bad_cell(table: Table, number: int, error: CellError) -> DataError:
    """What to say of a row with such a cell."""
    return DataError(
        f"data.path: {table.file}: {table.row(number)} has {error}. Mend it, or name the columns that are meant: "
        "data.columns."
    )
