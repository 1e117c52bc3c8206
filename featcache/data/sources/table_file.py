"""A file becomes the table that it holds, whatever wrote it, and the table rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from featcache.data.sources.arrow_tables import open_arrow, open_together
from featcache.data.sources.delimited_text import open_delimited
from featcache.data.sources.file_contents import not_read, require_contents
from featcache.data.sources.folder_tree import is_junk
from featcache.data.sources.image_tables import Table
from featcache.data.sources.json_records import open_json
from featcache.data.sources.rows import SPLIT_NAMES, Listing
from featcache.data.sources.source_images import SourceImages
from featcache.data.sources.split_words import split_said
from featcache.data.sources.table_columns import usual_labels, usual_score
from featcache.data.sources.table_rows import Part, list_parts
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import ImagePlace

SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")  # of `datasets`, save_to_disk
BESIDE = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "_classes.csv")  # of imagefolder; of Roboflow

# By ending; what opens it.
TABLES: dict[str, Callable[[Path], Table]] = {
    ".csv": lambda file: open_delimited(file, usual_score),
    ".tsv": lambda file: open_delimited(file, usual_score),
    ".txt": lambda file: open_delimited(file, usual_score),
    ".json": open_json,
    ".jsonl": open_json,
    ".ndjson": open_json,
    ".parquet": open_arrow,
    ".arrow": open_arrow,
    ".feather": open_arrow,
}
TEXTS = frozenset({".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson"})


def list_table(path: str, options: DataOptions, below: Path | SourceImages | None = None) -> Listing:
    """The images that a table names, `below` a folder (None: its own) or in a source, or holds."""
    file = Path(path)
    return list_parts([Part(open_table(file))], file, file.stem or "data", options, below)


def list_table_folder(path: str, options: DataOptions, below: Path | SourceImages | None = None) -> Listing:
    """The images of a folder that tables stand for: Parquet files, a data set that `datasets` saved, `metadata.csv` or
    Roboflow's `_classes.csv` beside the images of each split."""
    root = Path(path)
    if root.is_file():
        return list_table(path, options, below)
    files = tables_of(root) if root.is_dir() else []
    if not files:
        raise DataError(
            f"data.path: {root} is no folder that tables stand for. Expected Parquet files, a data set that `datasets` "
            f"saved, or one of {', '.join(BESIDE)} beside the images, with labels in it."
        )
    tables = _opened(files, root)
    parts = [
        Part(table, split_said(file, root), f"{file.parent.relative_to(root).as_posix()}/".removeprefix("./"))
        for file, table in zip(files, tables, strict=True)
    ]
    listing = list_parts(parts, root, root.name or "data", options, below)
    return replace(listing, notices=(*_together_said(files, root), *listing.notices))


def _together_said(files: Sequence[Path], root: Path) -> list[str]:
    """What to say where tables lie in several folders that are no splits: configurations of a hub's data set, maybe."""
    within = {file.parent.name for file in files if file.parent != root}
    folders = sorted(name for name in within if name.lower() not in SPLIT_NAMES)
    if len(folders) < 2:
        return []
    names = f"{folders[0]!r}, {folders[1]!r}{', ..' if len(folders) > 2 else ''}"
    return [f"tables of {len(folders)} folders ({names}) are read as one data set; name one in data.path if it is one"]


def table_images(path: str) -> SourceImages | None:
    """The images that a table, or a folder of tables, holds, for another table that names them; None where it holds
    none, but names them itself."""
    root = Path(path)
    files = tables_of(root) if root.is_dir() else [root]
    places: dict[str, ImagePlace] = {}
    for table in _opened(files, root) if root.is_dir() else [open_table(root)]:
        if len(table.images) != 1 or table.linked:
            return None
        places.update((cell.name, cell.place) for _, (cell,) in table.read([*table.images]))
    return SourceImages(path, places)


def _opened(files: Sequence[Path], root: Path) -> list[Table]:
    """The tables in the files of one data set."""
    if files[0].suffix.lower() in {".parquet", ".arrow"} and not files[0].stem.startswith("metadata"):
        return open_together(files, root)
    return [open_table(file) for file in files]


def tables_of(root: Path) -> list[Path]:
    """The tables that a folder stands for; none where it is not such a folder."""
    if any((root / name).is_file() for name in SAVED):
        saved = sorted((*root.glob("*.arrow"), *root.glob("*/*.arrow")))
        return [p for p in saved if not p.name.startswith("cache-") and p.name in _listed(p)]
    folders = [p for p in root.iterdir() if p.is_dir() and not is_junk(p.name)]
    parquet = sorted(
        p for p in (*root.glob("*.parquet"), *root.glob("*/*.parquet")) if not p.name.startswith("metadata")
    )
    if parquet and all(any(p.parent == folder for p in parquet) for folder in folders):
        return parquet
    splits = [p for p in folders if p.name.lower() in SPLIT_NAMES]
    beside = [p / name for p in (root, *sorted(splits)) for name in BESIDE if (p / name).is_file()]
    return [p for p in beside if usual_labels(open_table(p))]


def _listed(file: Path) -> Collection[str]:
    """The names of the Arrow files that `datasets` reads in the folder of `file`: what was saved there before may be
    left. Its own name where that is not known."""
    try:
        state = json.loads((file.parent / "state.json").read_text(encoding="utf-8"))
        return {one["filename"] for one in state["_data_files"]} or {file.name}
    except (OSError, ValueError, KeyError, TypeError):
        return {file.name}


def open_table(file: Path) -> Table:
    """The table in `file`; raises DataError where it cannot be read."""
    if file.is_dir():
        raise DataError(f"data.path: {file} is a folder, and no table. Name one in it, or leave {'table:'!r} out.")
    opened = TABLES.get(file.suffix.lower())
    if opened is None:
        raise not_read(file, f"a table: {', '.join(TABLES)}")
    if file.suffix.lower() in TEXTS:
        require_contents(file, "text", "empty")
    return opened(file)
