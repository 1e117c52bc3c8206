"""What `data.path` names: the kind of its source, by exact rules, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from featcache.data.sources.array_files import array_images, list_arrays
from featcache.data.sources.file_contents import not_read
from featcache.data.sources.folder_tree import is_junk
from featcache.data.sources.image_folder import list_folder
from featcache.data.sources.rows import SPLIT_NAMES, DataSource, Listing
from featcache.data.sources.shards import (
    TARS,
    are_shards,
    is_pattern,
    list_shards,
    list_tar,
    shard_images,
    tar_images,
)
from featcache.data.sources.source_images import SourceImages
from featcache.data.sources.table_file import TABLES, list_table, list_table_folder, table_images, tables_of
from featcache.data.sources.torchvision_sets import list_torchvision
from featcache.data.sources.zip_archive import list_zip, zip_images
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.plugins import is_plugin, one_with_plugins, package_code

GROUP = "featcache.data_sources"  # the entry points of installed packages that bring kinds of sources

SOURCES: dict[str, DataSource] = {
    "folder": list_folder,
    "table": lambda path, options: list_table(path, options, root_of(options)),
    "tables": lambda path, options: list_table_folder(path, options, root_of(options)),
    "zip": list_zip,
    "tar": list_tar,
    "shards": list_shards,
    "arrays": list_arrays,
    "torchvision": list_torchvision,
}

# The images of a source by name alone, for a table that says what they are; where a kind is not here, its rows are.
NAMED: dict[str, Callable[[str], SourceImages | None]] = {
    "zip": zip_images,
    "tar": tar_images,
    "shards": shard_images,
    "arrays": array_images,
    "table": table_images,
    "tables": table_images,
}

WITHIN = ("shards", "tables")  # kinds that may lie in a lone folder, which an image folder goes into by itself
MOST_LONE = 8  # folders one within the other; links may lead round

# Options that not every kind of source has a use for, and those that have.
OF_TABLES = {"columns": {"table", "tables", "tar", "shards"}, "root": {"table", "tables"}}

READ = (
    "an image folder (<class>/*, or train/<class>/*), a table (CSV, TSV, JSON lines, Parquet), an archive of such a "
    "folder (zip, tar, tar.gz), shards (train-{000..127}.tar), arrays (npz) or torchvision:NAME:ROOT"
)


def list_images(path: str, options: DataOptions) -> Listing:
    """The images of the source at `path`, of whatever kind: "KIND:PATH", or a path whose kind is plain to see.

    Raises DataError where it cannot be used.
    """
    kind, place = recognise(path)
    if kind in SOURCES:
        _require_used(kind, path, options)
        listing = SOURCES[kind](place, options)
        return replace(listing, notices=(*_entered_said(path, kind, place), *listing.notices))
    with package_code(f"data source {kind!r}"):
        return one_with_plugins(GROUP, kind, SOURCES, DataSource)(place, options)  # type: ignore[type-abstract]


def _entered_said(path: str, kind: str, place: str) -> list[str]:
    """What to say where tables or shards are not in the folder that is named, but in a lone one within it."""
    named = Path(path).expanduser().resolve()
    if kind not in WITHIN or not named.is_dir() or str(named) == place:
        return []
    return [f"the images are looked for in its folder {Path(place).relative_to(named).as_posix()}"]


def _require_used(kind: str, path: str, options: DataOptions) -> None:
    """Raise DataError for an option of tables where none is named: to pass over it would be silent."""
    for option, kinds in OF_TABLES.items():
        if getattr(options, option) is not None and kind not in kinds:
            raise DataError(
                f"data.{option}: has no use where {path} is read as a source of the kind {kind!r}. Expected it beside "
                "a table: name that by data.path, or leave the option out."
            )


def root_of(options: DataOptions) -> Path | SourceImages | None:
    """What the paths in a table are below (data.root): a folder, or the images of another source; None for its own
    folder.

    Raises DataError where it cannot be used.
    """
    if options.root is None:
        return None
    try:
        kind, place = recognise(options.root)
        found = NAMED[kind](place) if kind in NAMED else None
        if found is not None or kind == "folder" or (kind == "tables" and Path(place).is_dir()):
            named = Path(options.root).expanduser()  # paths are below it, whatever lone folder it has
            return found if found is not None else named.resolve() if named.is_dir() else Path(place)
        own = options.model_copy(update={"path": options.root, "root": None, "columns": None})
        return SourceImages(options.root, {row.name: row.place for row in list_images(options.root, own).rows})
    except DataError as error:
        said = str(error).replace("data.path", "data.root")
        raise DataError(said if said.startswith("data.root") else f"data.root: {said}") from None


def is_folder(path: str) -> bool:
    """Whether an image folder on the disk is at `path`, or nothing that can be told to be another source."""
    try:
        return recognise(path)[0] == "folder"
    except (DataError, OSError):
        return True


def recognise(path: str) -> tuple[str, str]:
    """The kind of the source at `path`, and the path that its reader gets; raises DataError where there is none."""
    try:
        place = Path(path).expanduser()
        exists = place.exists()
    except RuntimeError as error:  # ~somebody who has no home
        raise DataError(f"data.path: {path}: {error}") from None
    kind, colon, rest = path.partition(":")
    if not exists and colon and len(kind) > 1 and kind.isidentifier():
        if is_plugin(GROUP, kind, SOURCES) or kind == "torchvision":
            return kind, rest
        if kind in SOURCES:
            return kind, str(Path(rest).expanduser().absolute())
        raise _no_kind(path, kind, rest)
    if not exists and is_pattern(path):
        return "shards", str(place.absolute())
    if not exists:
        raise DataError(f"data.path: {place} does not exist. Expected {READ}.")
    place = place.resolve()
    found = next((name for name, rule in RULES.items() if rule(place)), None)
    if found is None:
        raise not_read(place, READ)
    if found == "folder":
        within = ((kind, below) for below in islice(_lone_folders(place), MOST_LONE) for kind in WITHIN)
        found, place = next(((kind, below) for kind, below in within if RULES[kind](below)), (found, place))
    return found, str(place)


def _lone_folders(folder: Path) -> Iterator[Path]:
    """The only folder in a folder, the only one in that, and so on, as archives leave them when they are unpacked."""
    while True:
        inside = [p for p in folder.iterdir() if not is_junk(p.name) and p.is_dir()]
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_NAMES:
            return
        folder = inside[0]
        yield folder


def _no_kind(path: str, kind: str, rest: str) -> DataError:
    """What to say of a path that begins with a word and a colon where that is no kind of source."""
    if kind.lower() == "file" and rest.startswith("/"):
        return DataError(f"data.path: {path}: a path, not an address, is expected: /{rest.lstrip('/')}.")
    if rest.startswith("//"):
        return DataError(
            f"data.path: {path} is an address, and nothing is fetched from {kind}. Expected files here: download it, "
            "and name the folder or the file that it becomes."
        )
    return DataError(f"data.path: {path}: {kind!r} is no kind of source. Expected {', '.join(SOURCES)} before a colon.")


# What each kind looks like; the first that fits is taken.
RULES: dict[str, Callable[[Path], bool]] = {
    "shards": lambda path: path.is_dir() and are_shards(path),
    "tables": lambda path: path.is_dir() and bool(tables_of(path)),
    "folder": Path.is_dir,
    "table": lambda file: file.suffix.lower() in TABLES,
    "zip": lambda file: file.suffix.lower() == ".zip",
    "tar": lambda file: file.name.lower().endswith(TARS),
    "arrays": lambda file: file.suffix.lower() == ".npz",
}
