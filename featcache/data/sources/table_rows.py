"""Tables become rows: each image once, with one label and one split, or the lines that say otherwise."""

from __future__ import annotations

import contextlib
import gc
import json
import math
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from featcache.counted_nouns import are, counted
from featcache.data.sources.image_endings import image_endings
from featcache.data.sources.image_tables import CellError, ImageCell, Table, bad_cell, first_texts, text_of
from featcache.data.sources.labels_like_none import like_none_said
from featcache.data.sources.listed_files import ListedFiles
from featcache.data.sources.number_labels import fold_numbers, whole_number
from featcache.data.sources.rows import SPLIT_NAMES, Listing, Row
from featcache.data.sources.source_images import ListedImages, NamedImages, SourceImages, named_images
from featcache.data.sources.table_columns import ChosenColumns, choose_columns, is_yes
from featcache.data.sources.unnamed_images import unnamed_images
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import Split

LOOKED_AT = 20_000  # rows, to see how files are named
SHOWN = 3
UNKNOWN = -1  # the number that `datasets` gives the class of an image without one


@dataclass(frozen=True)
class Part:
    """A table, the split that all of it is where its place says so, and what names of files have in front."""

    table: Table
    split: Split | None = None
    prefix: str = ""


def list_parts(
    parts: Sequence[Part], root: Path, name: str, options: DataOptions, below: Path | SourceImages | None
) -> Listing:
    """The rows of one or several tables that are one data set; images that they name are `below` a folder (None: each
    table's own) or in a source.

    Raises DataError for columns that are not there, an image with two labels or in two splits, a split or a weight that
    is none.
    """
    rows = _Rows(below)
    said: dict[str, None] = {}
    columns: dict[str, list[str]] = defaultdict(list)
    grouped = ""
    for part in parts:
        chosen = choose_columns(part.table, options.columns)
        with _no_collections():
            rows.add(part, chosen)
        said.update(dict.fromkeys(part.table.notices))
        columns[chosen.said].append(part.table.file.name)
        if chosen.group is not None:
            grouped = f"column {part.table.columns[chosen.group]!r}"
    rows.fold_numbers()
    rows.require_sound(root)
    read = (
        f"columns of {files[0] if len(files) == 1 else f'{len(files)} tables'}: {c}" for c, files in columns.items()
    )
    return Listing(name, root, rows.rows, (*read, *said, *rows.notices()), grouped=grouped, refused=rows.refused(root))


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Within it no garbage is looked for: rows are objects that stay, and looking through a million of them again and
    again is a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Rows:
    """The rows of all tables so far, and what is wrong with them."""

    def __init__(self, below: Path | SourceImages | None) -> None:
        self._below = below
        self.rows: list[Row] = []
        self._tables: list[Table] = []
        self._of: dict[str, int] = {}  # name -> row
        self._numbers = array("q")  # of each row, in its table
        self._from = array("i")  # its table
        self._clashes: list[str] = []
        self._spelt: list[str] = []  # two labels that are one number, if labels are numbers
        self._unlabelled: list[str] = []
        self._left: set[str] = set()  # images of such rows
        self._nameless: list[str] = []
        self._twice: list[str] = []
        self._unweighed: list[str] = []
        self._texts: dict[str, str] = {}
        self._looked: dict[str, None] = {}
        self._walked: dict[tuple[Path, str], None] = {}  # folders of files, and what names of theirs have in front

    def add(self, part: Part, chosen: ChosenColumns) -> None:
        """The rows of one table."""
        table = part.table
        files = None
        if chosen.image not in table.images or chosen.image in table.linked:
            names = [*first_texts(table, chosen.image, LOOKED_AT)]
            files = named_images(names, self._below, table) if names else None
            if files is not None and files.said:
                self._looked[files.said] = None
            if isinstance(files, ListedFiles):
                self._walked[files.root, part.prefix] = None
        self._tables.append(table)
        further = (chosen.split, chosen.group, chosen.weight)
        numbers = [chosen.image, *chosen.labels, *(n for n in further if n is not None)]
        for number, cells in table.read(numbers):
            try:
                self._add(number, self._row(part, chosen, files, number, cells))
            except CellError as error:
                raise bad_cell(table, number, error) from None

    def _row(
        self, part: Part, chosen: ChosenColumns, files: NamedImages | None, number: int, cells: Sequence[Any]
    ) -> Row | None:
        """A line as a row; None where it is passed over."""
        table = part.table
        image, rest = cells[0], iter(cells[1 + len(chosen.labels) :])
        if isinstance(image, ImageCell):
            name, place = image.name, image.place
        elif files is not None and (text := text_of(image)):
            name, place = files.find(text)
            name = name if isinstance(files, ListedImages) else part.prefix + name
        else:
            self._nameless.append(table.row(number))
            return None
        label = self._label(table, chosen, cells, name, number)
        if not label:
            self._unlabelled.append(f"{table.row(number)} ({name})")
            self._left.add(name)
            return None
        split = part.split
        if chosen.split is not None:
            split = self._split(table, text_of(_named(table, chosen.split, next(rest))), number, name)
        group = text_of(_named(table, chosen.group, next(rest))) if chosen.group is not None else ""
        weight = self._weight(table, next(rest), number, name) if chosen.weight is not None else 1.0
        return Row(name, place, label, split, self._same(group) if group else None, weight)

    def _add(self, number: int, row: Row | None) -> None:
        if row is None:
            return
        known = self._of.setdefault(row.name, len(self.rows))
        if known == len(self.rows):
            self.rows.append(row)
            self._numbers.append(number)
            self._from.append(len(self._tables) - 1)
            return
        before = self.rows[known]
        first = self._place(known)
        second = self._tables[-1].row(number)
        if before.label != row.label and whole_number(before.label) == whole_number(row.label):
            self._spelt.append(f"{row.name!r} has the labels {before.label!r} in {first} and {row.label!r} in {second}")
            row = row._replace(label=before.label)
        for what in ("label", "split", "group", "weight"):
            one, other = getattr(before, what), getattr(row, what)
            if one != other:
                self._clashes.append(
                    f"{row.name!r} has the {what} {_quoted(one)} in {first} and {_quoted(other)} in {second}"
                )
                return
        self._twice.append(f"{first} and {second} ({row.name})")

    def _label(self, table: Table, chosen: ChosenColumns, cells: Sequence[Any], name: str, number: int) -> str:
        if len(chosen.labels) == 1:
            cell = _named(table, chosen.labels[0], cells[1])
            if type(cell) is str and cell.startswith('{"choices"'):  # as Label Studio's CSV has several
                with contextlib.suppress(ValueError):
                    cell = json.loads(cell)
            if type(cell) is not str and (isinstance(cell, list) or (isinstance(cell, dict) and "choices" in cell)):
                several = cell["choices"] if isinstance(cell, dict) else cell
                cell = self._single([*map(text_of, several)], table, name, number)
            return self._same(text_of(cell))
        flags = zip(chosen.labels, cells[1:], strict=False)
        return self._single([table.columns[n] for n, cell in flags if is_yes(cell)], table, name, number)

    def _single(self, labels: Sequence[str], table: Table, name: str, number: int) -> str:
        """The one of an image's labels, or none."""
        if len(labels) > 1:
            self._clashes.append(f"{name!r} has the labels {' and '.join(map(repr, labels))} in {table.row(number)}")
        return labels[0] if labels else ""

    def _split(self, table: Table, text: str, number: int, name: str) -> Split | None:
        if not text:
            return None
        split = SPLIT_NAMES.get(text.lower())
        if split is None:
            raise DataError(
                f"data.path: {table.file}: {table.row(number)} says that {name!r} is in {text!r}, which is no split. "
                f"Expected {', '.join(SPLIT_NAMES)}. Mend it, or set data.columns.split: the column, or false for none."
            )
        return split

    def _weight(self, table: Table, cell: Any, number: int, name: str) -> float:
        try:
            weight = float(text_of(cell))
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            self._unweighed.append(f"{cell!r} in {table.row(number)} ({name})")
        return weight

    def _same(self, text: str) -> str:
        """One copy of each text, however many rows have it."""
        return self._texts.setdefault(text, text)

    def fold_numbers(self) -> None:
        """Make "1.0" the class "1" where every class is a number, as pandas writes a column with empty cells."""
        folded = fold_numbers({row.label for row in self.rows})
        if folded:
            self.rows = [row._replace(label=folded[row.label]) if row.label in folded else row for row in self.rows]
            self._looked["labels are numbers: {!r} is read as {!r}".format(*min(folded.items()))] = None
        elif folded is None:
            self._clashes += self._spelt

    def require_sound(self, root: Path) -> None:
        """Raise DataError for rows that contradict each other, or none at all."""
        if self._unweighed:
            raise DataError(
                f"data.path: {root}: {counted(len(self._unweighed), 'weight')} cannot be used: "
                f"{_some(self._unweighed)}. Expected a number of 0 or more in each line, with a point before decimals. "
                "Mend the cells; data.columns.weight names another column, or is false where none is to be read."
            )
        if self._clashes:
            raise DataError(
                f"data.path: {root}: {_some(self._clashes)}. Expected one label, one split, one group and one weight "
                "for each image: take one of the lines out."
            )
        if not self.rows:
            raise DataError(f"data.path: {root} names no image with a label. Expected a row for each image.")

    def refused(self, root: Path) -> str:
        """Why nothing can be trained on the rows; "" where something can."""
        unsplit = [n for n, row in enumerate(self.rows) if row.split is None]
        if not unsplit or len(unsplit) == len(self.rows):
            return ""
        return (
            f"data.path: {root}: {len(unsplit)} of {len(self.rows)} images have no split, such as "
            f"{self._place(unsplit[0])} ({self.rows[unsplit[0]].name}). Expected one for each image, or for none: fill "
            "the cells."
        )

    def _place(self, row: int) -> str:
        """Where a row is in its table."""
        return self._tables[self._from[row]].row(self._numbers[row])

    def notices(self) -> Iterator[str]:
        """What was passed over."""
        yield from self._looked
        yield from like_none_said(self.rows)
        if isinstance(self._below, SourceImages):
            others = self._below.places.keys() - self._of.keys() - self._left
            unnamed = sum(PurePosixPath(name).suffix.lower() in image_endings() for name in others)
            if unnamed:
                yield f"{counted(unnamed, 'image')} of {self._below.said} that no table names left out"
        elif beside := unnamed_images(self._walked, self._of, self._left):
            yield beside
        for found, what in (
            (self._unlabelled, "without a label left out"),
            (self._nameless, "without an image left out"),
            (self._twice, "there twice and read once"),
        ):
            if found:
                yield f"{counted(len(found), 'row')} {what}, such as {found[0]}"


def _some(found: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return "; ".join(found[:SHOWN]) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _named(table: Table, column: int, cell: Any) -> Any:
    """A cell's value, or what its number stands for; raises CellError for a number that stands for nothing."""
    names = table.names.get(column) if table.names else None
    if names is None or not isinstance(cell, int):
        return cell
    if cell == UNKNOWN:
        return None
    if not 0 <= cell < len(names):
        raise CellError(f"the class {cell}, and there {are(len(names))} {counted(len(names), 'name')}")
    return names[cell]


def _quoted(said: object) -> str:
    return repr(said) if said is not None else "none"
