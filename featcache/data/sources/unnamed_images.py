"""Images that lie among those that tables name, and that none names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from featcache.counted_nouns import counted
from featcache.data.sources.folder_tree import is_junk, printable
from featcache.data.sources.image_endings import image_endings

MOST = 1_000_000  # files that are looked at


def unnamed_images(folders: Iterable[tuple[Path, str]], named: Collection[str], left: Collection[str]) -> str:
    """How many images are in the folders that all of the `named` ones are below, and neither `named` nor `left`, in
    words; "" where there are none.

    `folders` are those that names are below, each with what its names have in front of them.
    """
    unnamed, where = 0, ""
    for root, prefix in folders:
        common = _common(named, prefix)
        for name in _names(root, common, prefix):
            if name not in named and name not in left:
                unnamed, where = unnamed + 1, where or str(root / common)
    return f"{counted(unnamed, 'image')} below {where} that no table names left out" if unnamed else ""


def _common(named: Collection[str], prefix: str) -> str:
    """The folder, below that of names with `prefix`, in which all of them are."""
    if not named or not min(named).startswith(prefix) or not max(named).startswith(prefix):
        return ""  # several tables, each with its folder
    common = os.path.commonprefix([min(named), max(named)])  # noqa: RUF071  (what comes after its last "/" is cut off)
    return common[len(prefix) :].rpartition("/")[0]


def _names(root: Path, folder: str, prefix: str) -> Iterator[str]:
    """The names of the images in a folder below `root`, links not followed; what cannot be listed is passed over."""
    endings, looked = tuple(image_endings()), 0
    for place, folders, files in os.walk(root / folder):
        folders[:] = [one for one in folders if not is_junk(one)]
        below = os.path.relpath(place, root)
        front = prefix if below == "." else f"{prefix}{below}/"
        looked += len(files)
        if looked > MOST:
            return
        for file in files:
            if file.lower().endswith(endings) and not is_junk(file):
                yield printable(front + file)
