"""An image folder becomes a list of files, each with its split and its label, or the reason why it cannot be one.

Reads `path/{train,val,test}/<class>/*`, `path/{train,test}/<class>/*`, `path/train/<class>/*` or `path/<class>/*`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from featcache.counted_nouns import counted
from featcache.data.file_formats import ENDINGS
from featcache.errors import DataError
from featcache.records import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What operating systems and tools leave in folders; never data. Hidden names are passed over too.
JUNK = {"dicomdir", "thumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"}

IDENTIFIER = re.compile(r"[0-9]+(\.[0-9]+){3,}")  # of DICOM: scanners name files by it


@dataclass(frozen=True)
class ImageFolder:
    """What lies in a data folder, before any file is opened."""

    root: Path
    splits: dict[Split, Path]  # the folder of each split that is there
    classes: tuple[str, ...]  # names of their class folders, sorted
    files: tuple[tuple[Split, int, Path], ...]  # split, label, image file
    loose: tuple[str, ...]  # files beside the class folders, by their names below the root
    ignored: tuple[str, ...]  # files in class folders that no image is named like

    def notices(self) -> list[str]:
        """What the user should know of the files that were passed over."""
        said = []
        if self.loose:
            said.append(f"{_counted(self.loose)} ignored beside the class folders, such as {self.loose[0]}")
        if self.ignored:
            said.append(f"{_counted(self.ignored)} ignored that no image is named like, such as {self.ignored[0]}")
        return said


def read_image_folder(root: Path) -> ImageFolder:
    """The splits, classes and image files of the folder at `root`; nothing is opened.

    Raises DataError for an empty split or class, a class missing in a split, fewer than two classes, or a folder that
    cannot be listed.
    """
    splits = _split_folders(root)
    classes = _class_folders(root, splits)
    files: list[tuple[Split, int, Path]] = []
    ignored: list[str] = []
    for split, folder in splits.items():
        for label, name in enumerate(classes):
            found = list(_image_files(folder / name, ignored, root))
            if not found:
                raise DataError(
                    f"{folder / name}: no images there, so the class {name!r} is empty in {split}. "
                    f"Every class needs at least one image in every split: {_remedy(split)}."
                )
            files += [(split, label, path) for path in found]
    loose = [p for folder in splits.values() for p in sorted(folder.iterdir()) if p.is_file() and not _is_junk(p.name)]
    return ImageFolder(root, splits, classes, tuple(files), tuple(name_below(p, root) for p in loose), tuple(ignored))


def _remedy(split: Split) -> str:
    """What to do where a split lacks a class."""
    if split == "train":
        return "move images of the class to train, or take the class out of every split"
    return (
        f"move images of the class to {split}, or move the {split} folder elsewhere, so that {split} is cut from train"
    )


def _counted(files: tuple[str, ...]) -> str:
    return counted(len(files), "file")


def _split_folders(root: Path) -> dict[Split, Path]:
    """The folder of each split that is there; a bare folder of classes counts as train alone."""
    found: dict[Split, Path] = {}
    for folder in _folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{root}: both {found[split].name!r} and {folder.name!r} mean the split {split}. Keep one of the two."
            )
        found[split] = folder
    if not found:
        return {"train": root}
    if "train" not in found:
        raise DataError(
            f"{root}: there is {', '.join(f.name for f in found.values())} but no train folder. "
            "Expected train/<class>/* beside it."
        )
    strays = [f.name for f in _folders(root) if f.name.lower() not in SPLIT_NAMES]
    if strays:
        raise DataError(
            f"{root}: holds split folders ({', '.join(f.name for f in found.values())}) and also {strays[0]!r}, "
            f"which is none of {', '.join(SPLIT_NAMES)}. Move it elsewhere."
        )
    return found


def _class_folders(root: Path, splits: dict[Split, Path]) -> tuple[str, ...]:
    """The names of the class folders, sorted, the same in every split."""
    by_split = {split: sorted(f.name for f in _folders(folder)) for split, folder in splits.items()}
    for split, names in by_split.items():
        if not names:
            raise DataError(f"{splits[split]}: no class folders there. Expected one folder of images for each class.")
    everything = sorted({n for names in by_split.values() for n in names})
    for split, names in by_split.items():
        missing = [n for n in everything if n not in names]
        if missing:
            has = next(s for s, others in by_split.items() if missing[0] in others)
            raise DataError(
                f"{splits[split]}: the class {missing[0]!r} is missing in {split} (it is in {has}). Every split must "
                f"have the same class folders, spelt alike, with an image in each: mend the name, or {_remedy(split)}."
            )
    if len(everything) < 2:
        raise DataError(f"{root}: one class only ({everything[0]!r}). Classification needs two or more class folders.")
    return tuple(everything)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not _is_junk(p.name) and p.is_dir())
    except OSError as error:
        raise unreadable(error) from None


def unreadable(error: OSError) -> DataError:
    """What to say of a file or folder that the system does not let us read."""
    return DataError(f"{error.filename}: cannot be read: {error.strerror}. Mend it or remove it.")


def _image_endings() -> set[str]:
    """The endings of the formats that Pillow opens by itself, no placeholders for HDF5, no documents; and of those that
    packages beside it open, installed or not: what cannot be read for want of one is told so."""
    formats = set(Image.registered_extensions().values()) & set(Image.OPEN)
    formats -= {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    return {ending for ending, name in Image.registered_extensions().items() if name in formats} | ENDINGS


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in JUNK


def _image_files(folder: Path, ignored: list[str], root: Path) -> Iterator[Path]:
    """The image files below `folder`, in name order; each folder is entered once, so link loops end."""
    endings = _image_endings()
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = Path(place).resolve()
        folders[:] = sorted(f for f in folders if not _is_junk(f)) if real not in seen else []
        if real in seen:
            continue
        seen.add(real)
        for name in sorted(names):
            path = Path(place) / name
            if _is_junk(name):
                continue
            # A file without an ending may well be an image, and so may one named by a DICOM identifier; one called .txt
            # or .csv is not meant to be.
            if path.suffix and path.suffix.lower() not in endings and not IDENTIFIER.fullmatch(name):
                ignored.append(name_below(path, root))
            elif path.is_file() or path.is_symlink():
                yield path


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is an error: passing over it would train on a part of the data in silence."""
    raise unreadable(error) from None


def name_below(path: Path, root: Path) -> str:
    """`path` below `root`, with "/" between its parts."""
    return printable(path.relative_to(root).as_posix())


def printable(name: str) -> str:
    """A file's name as UTF-8 that can be written anywhere, whatever bytes it holds."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
