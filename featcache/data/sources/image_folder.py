"""An image folder becomes rows, each file with its split and its class, or the reason why it cannot be one.

Reads `path/{train,val,test}/<class>/*`, `path/{train,test}/<class>/*`, `path/train/<class>/*` or `path/<class>/*`, on
the disk or in an archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from featcache.counted_nouns import counted
from featcache.data.file_formats import ENDINGS
from featcache.data.sources.folder_tree import DiskFolder, Folder, printable
from featcache.data.sources.rows import SPLIT_NAMES, Listing, Row
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import ImagePlace
from featcache.records import Split

IDENTIFIER = re.compile(r"[0-9]+(\.[0-9]+){3,}")  # of DICOM: scanners name files by it


def list_folder(path: str, options: DataOptions) -> Listing:  # noqa: ARG001
    """The image folder at `path`."""
    root = Path(path)
    return lay_out(DiskFolder(root, root), root)


def lay_out(folder: Folder, root: Path) -> Listing:
    """The splits, classes and images of `folder`, for the data set that data.path `root` names; nothing is opened.

    Raises DataError for an empty split or class, a class missing in a split, fewer than two classes, or a folder that
    cannot be listed.
    """
    splits = _split_folders(folder)
    classes = _class_folders(folder, splits)
    rows: list[Row] = []
    ignored: list[str] = []
    for split, part in splits.items():
        own = {f.name: f for f in part.folders()}
        for name in classes:
            found = [Row(n, p, printable(name), split) for n, p in _image_files(own[name], ignored)]
            if not found:
                raise DataError(
                    f"{own[name].where}: no images there, so the class {name!r} is empty in {split}. "
                    f"Every class needs at least one image in every split: {_remedy(split)}."
                )
            rows += found
    loose = [name for part in splits.values() for name in part.files()]
    return Listing(root.name or "data", root, rows, tuple(_notices(loose, ignored)), tuple(ignored))


def _notices(loose: list[str], ignored: list[str]) -> Iterator[str]:
    """What the user should know of the files beside the class folders, and of those that no image is named like."""
    if loose:
        yield f"{counted(len(loose), 'file')} ignored beside the class folders, such as {loose[0]}"
    if ignored:
        yield f"{counted(len(ignored), 'file')} ignored that no image is named like, such as {ignored[0]}"


def _remedy(split: Split) -> str:
    """What to do where a split lacks a class."""
    if split == "train":
        return "move images of the class to train, or take the class out of every split"
    return (
        f"move images of the class to {split}, or move the {split} folder elsewhere, so that {split} is cut from train"
    )


def _split_folders(root: Folder) -> dict[Split, Folder]:
    """The folder of each split that is there; a bare folder of classes counts as train alone."""
    found: dict[Split, Folder] = {}
    folders = root.folders()
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is None:
            continue
        if split in found:
            raise DataError(
                f"{root.where}: both {found[split].name!r} and {folder.name!r} mean the split {split}. Keep one of the "
                "two."
            )
        found[split] = folder
    if not found:
        return {"train": root}
    if "train" not in found:
        raise DataError(
            f"{root.where}: there is {', '.join(f.name for f in found.values())} but no train folder. "
            "Expected train/<class>/* beside it."
        )
    strays = [f.name for f in folders if f.name.lower() not in SPLIT_NAMES]
    if strays:
        raise DataError(
            f"{root.where}: holds split folders ({', '.join(f.name for f in found.values())}) and also {strays[0]!r}, "
            f"which is none of {', '.join(SPLIT_NAMES)}. Move it elsewhere."
        )
    return found


def _class_folders(root: Folder, splits: Mapping[Split, Folder]) -> tuple[str, ...]:
    """The names of the class folders, sorted, the same in every split."""
    by_split = {split: [f.name for f in folder.folders()] for split, folder in splits.items()}
    for split, names in by_split.items():
        if not names:
            raise DataError(
                f"{splits[split].where}: no class folders there. Expected one folder of images for each class."
                + table_hint(splits[split])
            )
    everything = sorted({n for names in by_split.values() for n in names})
    for split, names in by_split.items():
        missing = [n for n in everything if n not in names]
        if missing:
            has = next(s for s, others in by_split.items() if missing[0] in others)
            raise DataError(
                f"{splits[split].where}: the class {missing[0]!r} is missing in {split} (it is in {has}). Every split "
                "must have the same class folders, spelt alike, with an image in each: mend the name, or "
                f"{_remedy(split)}."
            )
    if len(everything) < 2:
        raise DataError(
            f"{root.where}: one class only ({everything[0]!r}). Classification needs two or more class folders."
            + table_hint(root)
        )
    return tuple(everything)


def table_hint(folder: Folder) -> str:
    """What to do where a table lies beside folders that are no classes."""
    endings = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
    tables = [name for name in folder.files() if name.lower().endswith(endings)]
    return (
        f" If {tables[0]!r} says which image is what, name it: data.path={folder.where / tables[0]}." if tables else ""
    )


@cache
def image_endings() -> frozenset[str]:
    """The endings of the formats that Pillow opens by itself, no placeholders for HDF5, no documents; and of those that
    packages beside it open, installed or not: what cannot be read for want of one is told so."""
    formats = set(Image.registered_extensions().values()) & set(Image.OPEN)
    formats -= {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats) | ENDINGS


def _image_files(folder: Folder, ignored: list[str]) -> Iterator[tuple[str, ImagePlace]]:
    """The image files below `folder`, in name order."""
    endings = image_endings()
    for name, place in folder.walk():
        # A file without an ending may well be an image, and so may one named by a DICOM identifier; one called .txt
        # or .csv is not meant to be.
        last = PurePosixPath(name)
        if last.suffix and last.suffix.lower() not in endings and not IDENTIFIER.fullmatch(last.name):
            ignored.append(name)
        else:
            yield name, place
