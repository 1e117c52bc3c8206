"""A manifest becomes a table of images, classes and splits, which `data.path` reads as the same data set."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from featcache.atomic import write_text
from featcache.errors import OutputError
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest


def write_split_table(manifest: Manifest, file: Path) -> Path | None:
    """Write the images of `manifest` with class, split, group and weight to the CSV `file`, in the manifest's order.

    Returns the folder that its paths are below (data.root); None where images are no files, but members of an archive
    or cells of a table, which no path names. Raises OutputError where the file exists or cannot be written.
    """
    if file.exists():
        raise OutputError(
            f"--out {file}: exists. Expected a new file: what was edited in it would be lost. Name another."
        )
    root = _root(manifest.images)
    grouped = any(i.group is not None for i in manifest.images)
    weighed = any(i.weight != 1 for i in manifest.images)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "label", "split", *(["group"] if grouped else []), *(["weight"] if weighed else [])])
    for image in manifest.images:
        row = [image.name, manifest.classes[image.label], image.split]
        row += [image.group or ""] if grouped else []
        table.writerow([*row, repr(image.weight).removesuffix(".0")] if weighed else row)
    write_text(file, text.getvalue())
    return root


def _root(images: tuple[ImageRecord, ...]) -> Path | None:
    """The folder that names are below; None where images are not files of their names."""
    roots = set()
    for image in images:
        if not isinstance(image.place, FilePlace) or not image.place.path.endswith(f"/{image.name}"):
            return None
        roots.add(image.place.path[: -len(image.name) - 1])
    return Path(roots.pop() or "/") if len(roots) == 1 else None
