"""A CSV of files and their groups (`data.groups.csv`) becomes the group of each image that it names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from featcache.errors import DataError
from featcache.options import GroupRule

# How a table may name a file below data.path, the most exact first; the first by which it names any is taken.
_SPELLINGS: dict[str, Callable[[str], str]] = {
    "as below data.path": lambda name: name,
    "by their last part": lambda name: PurePosixPath(name).name,
    "by their last part, without its ending": lambda name: PurePosixPath(name).stem,
}


def table_groups(rule: GroupRule, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The groups that the rule's CSV gives to images called `names`, and what the user should know of it.

    A blank cell is no group. Raises DataError for a file that cannot be read, lacks a column, names none of the images,
    means several by one name, or gives one two groups.
    """
    rows = _rows(rule)
    if not rows:  # what `featcache audit --write-groups` writes where nothing belongs together
        return {}, [f"data.groups ({rule.csv}) lists no file"]
    how, spelt = next(
        ((how, one) for how, one in _SPELLINGS.items() if not rows.keys().isdisjoint(map(one, names))), ("", str)
    )
    if not how:
        raise DataError(
            f"data.groups: {rule.csv}: none of its {len(rows)} files is one of the images"
            f", such as {next(iter(rows))!r}. Expected names such as {names[0]!r} in the column {rule.path!r}."
        )
    known = Counter(map(spelt, names))
    strangers = [name for name in rows if name not in known]
    several = next((name for name in rows if known[name] > 1), None)
    if several is not None:
        called = [name for name in names if spelt(name) == several]
        raise DataError(
            f"data.groups: {rule.csv}: names files {how}, and {known[several]} images are called {several!r}, such as "
            f"{called[0]} and {called[1]}. Expected names as below data.path."
        )
    said = []
    if strangers:
        said.append(
            f"{len(strangers)} of {len(rows)} files that data.groups ({rule.csv}) names are no image, such as "
            f"{strangers[0]!r}"
        )
    found = {name: rows[spelt(name)] for name in names if rows.get(spelt(name))}
    if not found:
        raise DataError(
            f"data.groups: {rule.csv}: the column {rule.column!r} is blank for every image. Expected the name of a "
            "group in it: name another column."
        )
    return found, said


def _rows(rule: GroupRule) -> Mapping[str, str]:
    """File -> group as the table has it; "" for a blank cell."""
    file = Path(str(rule.csv)).expanduser()
    found: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            for column in (rule.path, rule.column):
                if column not in (reader.fieldnames or ()):
                    raise DataError(
                        f"data.groups: {file} has no column {column!r}. It has "
                        f"{', '.join(map(repr, reader.fieldnames or ())) or 'no header'}; expected a header, a comma "
                        "between columns, and the names of both columns in data.groups.column and data.groups.path."
                    )
            for row in reader:
                name, group = (row[rule.path] or "").removeprefix("./"), (row[rule.column] or "").strip()
                if found.setdefault(name, group) != group:
                    raise DataError(
                        f"data.groups: {file} names {name!r} twice, with the groups {found[name]!r} and {group!r}. "
                        "Expected one group for each file: take one of the lines out."
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"data.groups: {file} cannot be read ({reason}). Expected a CSV with a header and the columns "
            f"{rule.path!r} and {rule.column!r}; `featcache audit --write-groups` writes one."
        ) from None
    found.pop("", None)
    return found
