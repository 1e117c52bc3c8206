"""Which columns of a table hold the images, their labels, splits, groups and weights: by name, usual or given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from featcache.data.sources.image_tables import Table
from featcache.errors import DataError
from featcache.options import Columns

# What columns are usually called, in lower case; the first that is there is taken.
USUAL: dict[str, tuple[str, ...]] = {
    "image": (
        "path",
        "image_path",
        "img_path",
        "file_path",
        "filepath",
        "file_name",
        "filename",
        "image_file",
        "image_filename",
        "image_name",
        "file",
        "image",
        "img",
        "image_id",
        "img_id",
        "jpg",
        "png",
        "name",
        "id",
    ),
    "label": (
        "label",
        "labels",
        "class",
        "class_name",
        "classname",
        "label_name",
        "category",
        "category_name",
        "target",
        "choice",
        "cls",
        "diagnosis",
        "y",
    ),
    "split": ("split", "set", "subset", "partition", "data_split", "dataset"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "case_id", "video", "video_id"),
    "weight": ("weight", "sample_weight", "image_weight"),
}
MIN_CLASSES = 2
BETWEEN = re.compile(r"[\s_-]+")  # words of a name; spreadsheets break long ones into lines


@dataclass(frozen=True)
class ChosenColumns:
    """Columns by their numbers; several of `labels` are one for each class, with a 1 in that of the image's."""

    image: int
    labels: tuple[int, ...]
    split: int | None
    group: int | None
    weight: int | None
    said: str  # which they are, in words


def usual_score(columns: Sequence[str]) -> int:
    """How many of the kinds of columns are among these, by their usual names."""
    known = set(map(_plain, columns))
    return sum(not known.isdisjoint(names) for names in USUAL.values())


def usual_labels(table: Table) -> bool:
    """Whether a table has labels, as far as can be told by the names of its columns, or by columns of 0 and 1."""
    image = _usual(table, "image", set())
    return image is not None and (
        _usual(table, "label", set()) is not None or bool(_one_for_each_class(table, {image}))
    )


def choose_columns(table: Table, given: Columns | None) -> ChosenColumns:
    """Those of `table` that are `given`, else those of usual names.

    Raises DataError where a given one is not there, or there is none for the image or the label.
    """
    image, label, split, group, weight = _columns(table, given if given is not None else Columns())
    if image is None:
        raise _lacking(table, "image", "paths of images, or their bytes")
    labels = (label,) if label is not None else _one_for_each_class(table, {image, split, group, weight})
    if not labels:
        raise _lacking(table, "label", "class names")
    chosen = {image, *labels, split, group, weight}
    parts = [f"image: {table.columns[image]!r}"]
    parts.append(
        f"label: {table.columns[labels[0]]!r}" if label is not None else f"labels: {len(labels)} columns of 0 and 1"
    )
    further = {"split": split, "group": group, "weight": weight}
    parts += [f"{kind}: {table.columns[n]!r}" for kind, n in further.items() if n is not None]
    rest = [repr(name) for n, name in enumerate(table.columns) if n not in chosen and name]
    said = ", ".join(parts)
    if rest:
        said += f"; not read: {', '.join(rest[:5])}" + (f" and {len(rest) - 5} more" if len(rest) > 5 else "")
    return ChosenColumns(image, labels, split, group, weight, said)


def _plain(name: str) -> str:
    return BETWEEN.sub("_", name.strip().lower())


def _columns(table: Table, named: Columns) -> list[int | None]:
    """The number of the column of each kind; None where there is none, or none is wanted. One that is given for a kind
    is no other's by its usual name."""
    given = {kind: getattr(named, kind) for kind in USUAL}
    found = {kind: _given(table, kind, name) for kind, name in given.items() if name}
    taken = set(found.values())
    return [
        found[kind] if name else None if name is False else _usual(table, kind, taken) for kind, name in given.items()
    ]


def _given(table: Table, kind: str, given: str) -> int:
    found = [n for n, name in enumerate(table.columns) if name == given]
    if len(found) == 1:
        return found[0]
    what = "several columns" if found else "no column"
    near = get_close_matches(given, table.columns, 1)
    hint = f" Did you mean {near[0]!r}?" if near and not found else ""
    raise DataError(
        f"data.columns.{kind}: {table.file} has {what} {given!r}. It has {_listed(table.columns)}; expected one of "
        f"them.{hint}"
    )


def _usual(table: Table, kind: str, taken: set[int]) -> int | None:
    """The number of the column of a kind by its usual name, none of those `taken`; None where there is none."""
    if kind == "image" and len(table.images - taken) == 1:
        return next(iter(table.images - taken))
    plain = ["" if n in taken else _plain(name) for n, name in enumerate(table.columns)]
    name = next((name for name in USUAL[kind] if name in plain), None)
    if name is None:
        return None
    if plain.count(name) > 1:
        raise DataError(f"data.path: {table.file} has several columns {name!r}. Give each its own name.")
    return plain.index(name)


def _one_for_each_class(table: Table, others: set[int | None]) -> tuple[int, ...]:
    """Columns of 0 and 1 alone, one for each class, as Roboflow and others export labels; none where they are not."""
    rest = [n for n, name in enumerate(table.columns) if n not in others and name]
    possible = set(rest)
    for _, cells in table.read(rest):
        possible -= {n for n, cell in zip(rest, cells, strict=True) if not is_flag(cell)}
        if len(possible) < MIN_CLASSES:
            return ()
    return tuple(n for n in rest if n in possible)


def is_flag(cell: object) -> bool:
    """Whether a cell says yes or no."""
    return str(cell).strip() in {"0", "1", "0.0", "1.0", "True", "False"}


def is_yes(cell: object) -> bool:
    """Whether a flag says yes."""
    return str(cell).strip() in {"1", "1.0", "True"}


def _lacking(table: Table, kind: str, what: str) -> DataError:
    named = table.unit != "line" or "json" in table.file.suffix  # rows and records name each of their cells
    headed = named or usual_score(table.columns)
    hint = "" if headed else " Its first line is taken for a header: is it one?"
    return DataError(
        f"data.path: {table.file} has no column that is known to hold {what}. It has {_listed(table.columns)}; "
        f"expected one called {USUAL[kind][0]!r}, {USUAL[kind][1]!r} or the like. Name it: data.columns.{kind}.{hint}"
    )


def _listed(columns: Sequence[str]) -> str:
    names = [repr(name) for name in columns]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "no columns"
