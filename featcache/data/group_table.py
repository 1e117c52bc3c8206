"""A CSV of files and their groups (`data.groups.csv`) becomes the group of each image that it names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from featcache.counted_nouns import counted
from featcache.errors import DataError
from featcache.options import GroupRule

# How a table may name a file below data.path, the most exact first; the first by which it names any is taken.
_SPELLINGS: dict[str, Callable[[str], str]] = {
    "as below data.path": lambda name: name,
    "by their last part": lambda name: PurePosixPath(name).name,
    "by their last part, without its ending": lambda name: PurePosixPath(name).stem,
}


# What lists leave between columns: a comma, or where the comma is the decimal mark a semicolon; and what is pasted.
_SEPARATORS = (",", ";", "\t")


CONTENT = (
    "sha256"  # the column of `featcache audit --write-groups` that says which image a line is of, whatever its name
)


def table_groups(rule: GroupRule, contents: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The groups that the rule's CSV gives to images, of which `contents` has the sha256 by name; and what the user
    should know of it.

    A blank cell is no group. A line with a sha256 is of the images of that content, also where they have been renamed
    or come from another source. Raises DataError for a file that cannot be read, lacks a column, names none of the
    images, means several by one name, or gives one two groups.
    """
    names = list(contents)
    lines = _lines(rule)
    if not lines:  # what `featcache audit --write-groups` writes where nothing belongs together
        return {}, [f"data.groups ({rule.csv}) lists no file"]
    cells, others = _named_now(lines, contents)
    if not cells:
        raise DataError(f"data.groups: {rule.csv}: {_of_others(others)}, and so are all of its lines.")
    how = _spelling(cells, names)
    if not how:  # paths as Windows writes them, and blanks beside the separator: only where no image is called so
        cells = [(name.strip().replace("\\", "/").removeprefix("./"), group) for name, group in cells]
        how = _spelling(cells, names)
    if not how:
        raise DataError(
            f"data.groups: {rule.csv}: none of its {counted(len(cells), 'file')} is one of the images"
            f", such as {cells[0][0]!r}. Expected names such as {names[0]!r} in the column {rule.path!r}."
        )
    rows, spelt = _by_file(rule, cells), _SPELLINGS[how]
    known = Counter(map(spelt, names))
    strangers = [name for name in rows if name not in known]
    several = next((name for name in rows if known[name] > 1), None)
    if several is not None:
        called = [name for name in names if spelt(name) == several]
        raise DataError(
            f"data.groups: {rule.csv}: names files {how}, and {known[several]} images are called {several!r}, such as "
            f"{called[0]} and {called[1]}. Expected names as below data.path."
        )
    said = [f"data.groups ({rule.csv}): {_of_others(others)}: it groups none"] if others else []
    if strangers:
        said.append(
            f"{len(strangers)} of {counted(len(rows), 'file')} that data.groups ({rule.csv}) names are no image, such "
            f"as {strangers[0]!r}"
        )
    found = {name: rows[spelt(name)] for name in names if rows.get(spelt(name))}
    if not found:
        raise DataError(
            f"data.groups: {rule.csv}: the column {rule.column!r} is blank for every image. Expected the name of a "
            "group in it: name another column."
        )
    return found, said


def _spelling(cells: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    """How the table spells files; "" where it names none of the images."""
    listed = {name for name, _ in cells}
    return next((how for how, one in _SPELLINGS.items() if not listed.isdisjoint(map(one, names))), "")


def _by_file(rule: GroupRule, cells: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """File -> group; "" for a blank cell."""
    found: dict[str, str] = {}
    for name, group in cells:
        if found.setdefault(name, group) != group:
            raise DataError(
                f"data.groups: {rule.csv} names {name!r} twice, with the groups {found[name]!r} and {group!r}. "
                "Expected one group for each file: take one of the lines out."
            )
    return found


def _named_now(
    lines: Sequence[tuple[str, str, str]], contents: Mapping[str, str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """File and group of each line, those with a sha256 under the names that images of that content have here; and the
    names that images of another content have now."""
    here: dict[str, list[str]] = {}
    for name, sha256 in contents.items():
        here.setdefault(sha256, []).append(name)
    cells: list[tuple[str, str]] = []
    others = []
    for name, group, sha256 in lines:
        if not sha256 or (name not in contents and sha256 not in here):
            cells.append((name, group))
        elif sha256 in here:
            cells += [(now, group) for now in here[sha256]]
        else:
            others.append(name)
    return cells, others


def _of_others(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'line')} of other images than those of their names, such as {names[0]!r}"


def _lines(rule: GroupRule) -> list[tuple[str, str, str]]:
    """File, group and sha256 ("" where there is none) of each line that names a file, as the table has them."""
    file = Path(str(rule.csv)).expanduser()
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            first = stream.readline()
            if first.rstrip("\r\n") in [f"sep={mark}" for mark in _SEPARATORS]:  # what Excel takes for one
                first = stream.readline()
            header, separator = _header(rule, first)
            rows = list(csv.reader(stream, delimiter=separator))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"data.groups: {file} cannot be read ({reason}). Expected a CSV in UTF-8 with a header and the columns "
            f"{rule.path!r} and {rule.column!r}; `featcache audit --write-groups` writes one."
        ) from None
    path, column = header.index(rule.path), header.index(rule.column)
    full = [row + [""] * len(header) for row in rows]
    own = header.index(CONTENT) if CONTENT in header else None
    cells = [(row[path], row[column], "" if own is None else row[own]) for row in full]
    return [(name.removeprefix("./"), group.strip(), sha.strip()) for name, group, sha in cells if name.strip()]


def _header(rule: GroupRule, line: str) -> tuple[list[str], str]:
    """The columns' names, and what stands between them."""
    read = {mark: [name.strip() for name in next(csv.reader([line], delimiter=mark), [])] for mark in _SEPARATORS}
    separator = next((m for m, names in read.items() if {rule.path, rule.column} <= set(names)), None)
    if separator is None:
        names = max(read.values(), key=len)
        missing = next(name for name in (rule.path, rule.column) if name not in names)
        raise DataError(
            f"data.groups: {rule.csv} has no column {missing!r}. It has "
            f"{', '.join(map(repr, names)) or 'no header'}; expected a header, commas or semicolons "
            "between columns, and the names of both columns in data.groups.column and data.groups.path."
        )
    several = next((name for name in (rule.path, rule.column) if read[separator].count(name) > 1), None)
    if several is not None:
        raise DataError(
            f"data.groups: {rule.csv} has several columns called {several!r}. Expected one: give each its own name."
        )
    return read[separator], separator
