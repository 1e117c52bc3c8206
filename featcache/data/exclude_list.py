"""Images in, those that `data.exclude` does not name out: the others are as if they were not in the folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence, Set
from itertools import chain, islice
from pathlib import Path

from featcache.counted_nouns import counted
from featcache.errors import DataError
from featcache.records import SPLITS, ImageRecord

HEADER = "path"  # no image's name, which has its class's folder in it
COLUMNS = [HEADER, "reason", "sha256"]  # of a list that `featcache audit --write-clean` wrote


def exclude(
    images: Sequence[ImageRecord],
    classes: Sequence[str],
    root: Path,
    file: str | None,
    passed_over: frozenset[str] = frozenset(),
) -> tuple[list[ImageRecord], list[str]]:
    """`images` less those that `file` (data.exclude) names, and what the user should know of it.

    It may name images that are `passed_over`, too. A line with the sha256 of another content than the file of its name
    has means another image, of another source or before files were renamed: it leaves out nothing. Raises DataError
    when the file cannot be read or names no image, or a split would have none left, or a class none in train.
    """
    if file is None:
        return list(images), []
    contents = {i.name: i.sha256 for i in images}
    known = contents.keys() | passed_over
    names, hashes = read_exclusion(Path(file).expanduser(), known), _hashes_listed(Path(file).expanduser())
    if names == [HEADER]:  # what `featcache audit --write-clean` writes where nothing is to leave out
        return list(images), [f"data.exclude ({file}) lists no file"]
    names = names[names[:1] == [HEADER] :]
    strangers = [n for n in names if n not in known]
    others = [n for n in names if n in contents and hashes.get(n, contents[n]) != contents[n]]
    if others and len(strangers) + len(others) == len(names):
        raise DataError(_of_other_contents(file, others, root))
    if len(strangers) == len(names):
        example = f", such as {strangers[0]!r}" if strangers else ""
        raise DataError(
            f"data.exclude: {file}: none of its {counted(len(names), 'line')} names an image below {root}{example}. "
            f"Expected names such as {images[0].name!r} in the first column."
        )
    gone = set(names) - set(others)
    left = [i for i in images if i.name not in gone]
    _require_classes(images, left, classes, file)
    notices = [f"{len(images) - len(left)} of {counted(len(images), 'file')} left out by data.exclude ({file})"]
    if strangers:
        notices.append(
            f"{len(strangers)} of {counted(len(names), 'line')} of data.exclude name no image below {root}, such as "
            f"{strangers[0]!r}"
        )
    if others:
        notices.append(_of_other_contents(file, others, root))
    return left, notices


def _of_other_contents(file: str, names: Sequence[str], root: Path) -> str:
    return (
        f"data.exclude: {file}: {counted(len(names), 'line')} would leave out other images than the list was made of, "
        f"such as {names[0]!r}, which has another content below {root} than the sha256 says: they leave out none. "
        "`featcache audit --write-clean` with these images makes a new list."
    )


def read_exclusion(file: Path, known: Set[str]) -> list[str]:
    """The names that a list of files gives, each once: the first column of a CSV, or a line where that is `known`.

    Blank lines and lines that start with "#" are passed over; a name that starts with "#" stands in quotes. A header is
    given back as the first name, "path". Raises DataError when the file cannot be read.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            return names_listed(stream, known)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"data.exclude: {file} cannot be read ({reason}). Expected a CSV or a list with one file on each line; "
            "`featcache audit --write-clean` writes one. Take data.exclude out to leave out nothing."
        ) from None


def _hashes_listed(file: Path) -> dict[str, str]:
    """The contents that a list of `featcache audit` says its names have; none of any other list."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        rows = _Lines(stream).records()
        if next(rows, []) != COLUMNS:
            return {}
        return {row[0]: row[2] for row in rows if len(row) == len(COLUMNS) and row[2]}


def names_listed(stream: Iterator[str], known: Set[str]) -> list[str]:
    """`read_exclusion` of the lines of an open file; raises csv.Error where they are no CSV."""
    lines = _Lines(stream)
    cells = [(row[0], lines.first) for row in lines.records() if row and row[0]]
    # In a plain list a name may hold commas, unquoted.
    return list(dict.fromkeys(line if cell not in known and line in known else cell for cell, line in cells))


class _Lines:
    """The lines of a CSV for its reader, less the comments; a quoted name may go over several of them."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._begin = True
        self.first = ""  # of the record that was read last, without its end

    def records(self) -> Iterator[list[str]]:
        """Each record's cells."""
        kept = self._kept()
        header = list(islice(kept, 1))
        # Where the comma is the decimal mark, spreadsheets save semicolons.
        separator = ";" if any(line.replace('"', "").startswith(f"{HEADER};") for line in header) else ","
        for row in csv.reader(chain(header, kept), delimiter=separator):
            yield row
            self._begin = True

    def _kept(self) -> Iterator[str]:
        for line in self._lines:
            if self._begin and line.startswith("#"):
                continue
            if self._begin:
                self.first = line.rstrip("\r\n")
            self._begin = False
            yield line


def _require_classes(
    images: Sequence[ImageRecord], left: Sequence[ImageRecord], classes: Sequence[str], file: str
) -> None:
    emptied = [s for s in SPLITS if s in {i.split for i in images} - {i.split for i in left}]
    if emptied:
        raise DataError(
            f"data.exclude: {file} leaves out every image of {' and of '.join(emptied)}. Expected some there: take "
            "some of its lines out."
        )
    rest = {i.label for i in left if i.split == "train"}
    gone = {i.label for i in images if i.split == "train"} - rest
    if gone:
        names = ", ".join(repr(classes[label]) for label in sorted(gone))
        raise DataError(
            f"data.exclude: {file} leaves out every image of {names} in train. Every class needs at least one there: "
            "take some of its lines out, or leave the class out with data.classes."
        )
