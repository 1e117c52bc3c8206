"""A folder that holds one other folder alone, as archives leave it when they are unpacked, is gone into."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from featcache.data.sources.folder_tree import DiskFolder, Folder
from featcache.data.sources.image_endings import image_endings
from featcache.data.sources.rows import SPLIT_NAMES
from featcache.errors import DataError

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


def enter(root: Folder) -> tuple[Folder, list[str]]:
    """The folder that is meant, as a root of its own, and what the user should know of it.

    A lone folder is gone into where it holds several folders, or splits, or a lone folder again, and no images: then it
    is no class. A table beside it may say which of its images is what, so that it is not.
    """
    folder = root
    while True:
        inside = folder.folders()
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_NAMES or tables_beside(folder):
            break
        below = inside[0].folders()
        lone = len(below) == 1 and (below[0].name.lower() in SPLIT_NAMES or below[0].folders())
        if (len(below) < 2 and not lone) or _has_images(inside[0]):
            break
        folder = inside[0].as_root()
    if folder is root:
        return root, []
    return folder, [f"the images are looked for in its folder {folder.where.relative_to(root.where).as_posix()}"]


def entered(path: Path) -> Path:
    """The folder below which the images of the folder at `path` have their names."""
    try:
        return enter(DiskFolder(path, path))[0].where
    except (DataError, OSError):  # said when an image is read
        return path


def tables_beside(folder: Folder) -> list[str]:
    """The names of the tables in a folder."""
    return [name for name in folder.files() if name.lower().endswith(TABLES)]


def _has_images(folder: Folder) -> bool:
    return any(PurePosixPath(name).suffix.lower() in image_endings() for name in folder.files())
