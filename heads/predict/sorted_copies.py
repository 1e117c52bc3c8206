"""Copies of images in a folder for each class that they were predicted to be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePath

from featcache.atomic import make_folder, replacing
from featcache.errors import OutputError
from heads.predict.predictor import Prediction

NAME_BYTES = 255  # of a file, on the file systems that people have


class SortedCopies:
    """A folder that copies go into; what is there already is never overwritten by something else."""

    def __init__(self, folder: Path, classes: Sequence[str], sources: Sequence[str]) -> None:
        """Raises OutputError where the folder lies in one that is looked at: its copies would be images the next
        time; or where it cannot be written."""
        inside = next((s for s in sources if folder.resolve().is_relative_to(Path(s).expanduser().resolve())), None)
        if inside is not None:
            raise OutputError(
                f"--copy-to {folder}: lies in {inside}, whose images are looked at. Choose a place outside."
            )
        make_folder(folder)
        self._folder = folder
        self._of_class = _folder_names(classes)
        self.copied = self.there = 0

    def copy(self, prediction: Prediction, label: str) -> str:
        """Copy one image into the folder of its class; one of the same name and other content gets a longer name. Gives
        the reason where what was looked at is not there any more, else ""."""
        try:
            data = prediction.image.place.read()
        except OSError as error:
            return error.strerror or str(error)
        if hashlib.sha256(data).hexdigest() != prediction.sha256:
            return "its content is another one now"
        name = PurePath(prediction.image.name.replace("\0", "_")).name or prediction.sha256[:8]
        place = self._folder / self._of_class[label] / name
        if place.exists() and not _holds(place, prediction.sha256):
            place = place.with_name(f"{place.stem[: NAME_BYTES // 4]}-{prediction.sha256[:8]}{place.suffix}")
        if place.exists() and _holds(place, prediction.sha256):
            self.there += 1
            return ""
        with replacing(place) as temporary:
            temporary.write_bytes(data)
        self.copied += 1
        return ""


def _holds(file: Path, sha256: str) -> bool:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == sha256


def _folder_names(classes: Sequence[str]) -> dict[str, str]:
    """A folder's name for each class: a class may be called what no folder can be."""
    names: dict[str, str] = {}
    for label in classes:
        plain = "".join("_" if c in '/\\\0:*?"<>|' or ord(c) < 32 else c for c in label).strip(". ") or "_"
        taken = {name.casefold() for name in names.values()}
        number, name = 1, plain
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        names[label] = name
    return names
