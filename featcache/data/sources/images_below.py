"""The images of a folder, a zip or a tar as they lie there, whatever classes and splits their folders may stand for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from featcache.data.sources.archive_members import member_name
from featcache.data.sources.folder_tree import DiskFolder, is_junk
from featcache.data.sources.image_endings import may_be_image
from featcache.data.sources.shards import TARS
from featcache.data.sources.tar_archive import tar_entries
from featcache.data.sources.zip_archive import zip_members
from featcache.errors import DataError
from featcache.places import ImagePlace


def images_below(path: Path) -> list[tuple[str, ImagePlace]] | None:
    """Name below `path`, and place, of each file there that is an image by its name, in name order; None where `path`
    is a file that is neither zip nor tar. Raises DataError where it cannot be listed."""
    if path.is_dir():
        found: Iterable[tuple[str, ImagePlace]] = DiskFolder(path, path).walk()
    elif path.suffix.lower() == ".zip":
        found = _plain(path, zip_members(path))
    elif path.name.lower().endswith(TARS):
        found = _plain(path, ((entry.name, entry.place) for entry in tar_entries(path)))
    else:
        return None
    try:
        return sorted(((name, place) for name, place in found if may_be_image(name)), key=lambda one: one[0])
    except DataError as error:  # whoever reads a data set says by which option it was named
        raise DataError(str(error).removeprefix("data.path: ")) from None


def _plain(archive: Path, members: Iterable[tuple[str, ImagePlace]]) -> Iterable[tuple[str, ImagePlace]]:
    named = ((member_name(archive, name), place) for name, place in members)
    return ((name, place) for name, place in named if not any(map(is_junk, PurePosixPath(name).parts)))
