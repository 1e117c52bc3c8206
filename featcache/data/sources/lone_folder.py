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
    is no class. A table beside it may say which of its images is what, so that it is not, unless it holds splits: what
    the table says they say too (as of a sample submission).
    """
    folder = root
    while True:
        inside = folder.folders()
        if len(inside) != 1 or inside[0].name.lower() in SPLIT_NAMES:
            break
        below = inside[0].folders()
        if tables_beside(folder) and not _holds_splits(inside[0]):
            break
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
    """The names of the tables in a folder; last those of competitions that show what an answer looks like."""
    found = [name for name in folder.files() if name.lower().endswith(TABLES)]
    return sorted(found, key=lambda name: "submission" in name.lower())


def _holds_splits(folder: Folder) -> bool:
    """Whether a folder is, or leads to by lone folders, one that holds train and the like alone, each with classes."""
    below = folder.folders()
    if below and all(one.name.lower() in SPLIT_NAMES for one in below):
        return all(one.folders() for one in below)
    return len(below) == 1 and not _has_images(folder) and _holds_splits(below[0])


def _has_images(folder: Folder) -> bool:
    return any(PurePosixPath(name).suffix.lower() in image_endings() for name in folder.files())
