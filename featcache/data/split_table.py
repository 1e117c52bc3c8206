"""A manifest becomes a table of images, classes and splits, which `data.path` reads as the same data set."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.atomic import write_named
from featcache.data.image_order import by_name
from featcache.data.sources import fold_numbers
from featcache.errors import OutputError
from featcache.options import DataOptions
from featcache.places import FilePlace, NoPlace
from featcache.records import ImageRecord, Manifest

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}  # by the ending of the file


@dataclass(frozen=True)
class _Named:
    """What a table calls images, and in which data.root these names are theirs; None where it needs none."""

    names: Sequence[str]
    root: str | None


def write_split_table(manifest: Manifest, options: DataOptions, file: Path) -> str | None:
    """Write the images of `manifest`, which `options` name, with class, split, group and weight to the CSV `file`, by
    split, class and name.

    Of .csv the cells are parted by commas, of .tsv and .txt by tabs. Returns the data.root with which data.path reads
    it as the same data set; None where it needs none. Raises OutputError where the file exists or cannot be written.
    """
    separator = require_table(file)
    _require_kept(manifest.classes)
    images = by_name(manifest.images)
    named = _named(images, options, file.resolve().parent)
    grouped = any(i.group is not None for i in images)
    weighed = any(i.weight != 1 for i in images)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n", delimiter=separator)
    table.writerow(["path", "label", "split", *(["group"] if grouped else []), *(["weight"] if weighed else [])])
    for name, image in zip(named.names, images, strict=True):
        row = [_as_text(name), manifest.classes[image.label], image.split]
        row += [image.group or ""] if grouped else []
        table.writerow([*row, repr(image.weight).removesuffix(".0")] if weighed else row)
    write_named(file, text.getvalue(), "--out")
    return named.root


def _require_kept(classes: Sequence[str]) -> None:
    """Raise OutputError where a table cannot say the classes' names, since it takes "2.0" for the number 2."""
    folded = fold_numbers(classes)
    if folded:
        old, new = min(folded.items())
        raise OutputError(
            f"split: every class is a number, and a table reads {old!r} as {new!r}: it would be another data set. "
            f'Rename the class, or say what is meant: data.classes, {{"grade {new}": ["{old}"], ..}} with every class.'
        )


def require_table(file: Path) -> str:
    """What parts the cells of a new table `file`; raises OutputError where it exists or its ending is no table's of
    text."""
    if os.path.isfile(file):  # noqa: PTH113  (Path raises for names that are too long)
        raise OutputError(
            f"--out {file}: exists. Expected a new file: what was edited in it would be lost. Name another."
        )
    separator = SEPARATORS.get(file.suffix.lower())
    if separator is None:
        raise OutputError(
            f"--out {file}: no table of text is named so, and data.path would not read it as one. Expected an ending "
            f"of {', '.join(SEPARATORS)}: name the file {file.name}.csv, say."
        )
    return separator


def _named(images: Sequence[ImageRecord], options: DataOptions, folder: Path) -> _Named:
    """How a table in `folder` names the images: files below the folder that most of them are below, those elsewhere by
    their whole paths; images that are no files in the source that has them."""
    tops = [_top(image) for image in images]
    if any(top is None for top in tops):
        return _Named([i.name for i in images], options.root or options.path)
    known = Counter(top for top in tops if top)
    root = known.most_common(1)[0][0] if known else ""
    names = [
        image.place.path if isinstance(image.place, FilePlace) and not (root and top == root) else image.name
        for image, top in zip(images, tops, strict=True)
    ]
    return _Named(names, None if _found_from(folder, root, names) else root or "/")


def _as_text(name: str) -> str:
    """`name`; raises OutputError where it is no text that a table could hold."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise OutputError(
            f"split: the file {shown} has a name that is not UTF-8, and a table is: no row could name it. Rename it, "
            "and write the split again."
        ) from None
    return name


def _top(image: ImageRecord) -> str | None:
    """The folder that a file's name is below; "" where that is its whole path or it is not there, None for no file."""
    if isinstance(image.place, NoPlace):
        return ""
    if not isinstance(image.place, FilePlace):
        return None
    name = f"/{image.name}"
    return image.place.path[: -len(name)] if image.place.path.endswith(name) else ""


def _found_from(folder: Path, root: str, names: Sequence[str]) -> bool:
    """Whether a table in `folder` finds the files that it names below `root` by itself: it looks there, and above."""
    if not root:
        return not any(Path(name).is_relative_to(folder) for name in names)
    if Path(root) == folder:
        return True
    below = Path(root) in folder.parents
    return below and all(os.path.lexists(f"{root}/{n}") and not os.path.lexists(folder / n) for n in names)
