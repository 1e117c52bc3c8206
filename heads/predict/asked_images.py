"""What a user names to be looked at becomes images: files, folders, archives, globs, a list of any of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.data import images_below
from featcache.errors import DataError
from featcache.places import FilePlace, ImagePlace, NoPlace


@dataclass(frozen=True, slots=True)
class AskedImage:
    """An image as the user named it, and where its bytes are."""

    name: str
    place: ImagePlace


def asked_images(named: Sequence[str], listed: Iterable[str] = ()) -> Iterator[AskedImage]:
    """Each image that `named` means, once, in their order: a file is itself whatever its ending, of a folder (and of
    those in it), a zip or a tar all files that are images by their ending.

    `listed` are lines that name more, as another command may write them: what is not there is an image that cannot be
    read. Raises DataError at once where one of `named` is not there, or a folder holds no image.
    """
    first: list[AskedImage] = []
    for name in named:
        found = _meant(name)
        if not found:
            raise DataError(
                f"{name}: {_what_lacks(name)}. Expected an image, a folder, a zip or tar of some, or a glob."
            )
        first += found
    return _once(first, (one for line in listed if line.strip("\r\n") for one in _listed(line.strip("\r\n"))))


def _once(named: Iterable[AskedImage], listed: Iterable[AskedImage]) -> Iterator[AskedImage]:
    seen: set[str] = set()
    for images in (named, listed):
        for image in images:
            if image.place.key not in seen:
                seen.add(image.place.key)
                yield image


def _meant(name: str) -> list[AskedImage]:
    path = Path(name).expanduser()
    if path.exists():
        return _of_path(path, name)
    if glob.has_magic(name):
        matches = sorted(glob.glob(os.fspath(path), recursive=True))  # noqa: PTH207  (with / and ~, as in a shell)
        return [image for match in matches for image in _of_path(Path(match), match)]
    return []


def _of_path(path: Path, name: str) -> list[AskedImage]:
    below = images_below(path)
    if below is None:
        return [AskedImage(_legible(name), FilePlace.at(path))]
    return [AskedImage(_legible(os.path.join(name, inner)), place) for inner, place in below]  # noqa: PTH118  as typed


def _legible(name: str) -> str:
    """As names in a folder are: bytes that are no UTF-8 by their codes, so that every table can hold them."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _listed(name: str) -> list[AskedImage]:
    found = _meant(name)
    return found or [AskedImage(_legible(name), NoPlace(os.path.abspath(name), _what_lacks(name)))]  # noqa: PTH100


def _what_lacks(name: str) -> str:
    if Path(name).expanduser().exists():
        return "no images in it"
    return "no file matches it" if glob.has_magic(name) else "there is no such file or folder"
