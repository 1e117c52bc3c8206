"""A data set of torchvision by name, `torchvision:CIFAR10:ROOT`, becomes rows; nothing is downloaded.

Data sets of files give the files themselves; those that hold arrays give their pictures, losslessly.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.sources.folder_tree import name_below
from featcache.data.sources.kept_values import Kept
from featcache.data.sources.raw_pictures import picture_bytes
from featcache.data.sources.rows import Listing, Row
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import FilePlace, ImagePlace, NoContentError
from featcache.records import Split

# What a data set's argument `split` may be, and which split that is; those of every image, or of both, are not asked.
SPLITS: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
ONLY: dict[str, Split] = {"trainval": "train"}  # where there is no `train`
MOST_OPEN = 8


@dataclass(frozen=True, slots=True)
class SetItem:
    """A picture of a data set of torchvision that is no file."""

    root: str
    name: str
    part: str
    item: int

    @property
    def key(self) -> str:
        """The data set and the item."""
        return f"{self.root}\0{self.name}:{self.part}[{self.item}]"

    @property
    def position(self) -> tuple[str, int]:
        """As it lies in the data set."""
        return f"{self.root}\0{self.name}:{self.part}", self.item

    def stamp(self) -> None:
        """Which files it comes from only torchvision knows."""

    def read(self) -> bytes:
        """The picture as a file of its own."""
        picture, _ = _open(self.name, self.root, self.part)[self.item]
        try:
            return picture_bytes(np.asarray(picture))
        except ValueError as error:
            raise NoContentError(str(error)) from None


_sets = Kept(MOST_OPEN, lambda _: 1)


def list_torchvision(path: str, options: DataOptions) -> Listing:  # noqa: ARG001
    """The pictures of the data set that `NAME:ROOT` names, with the splits that it has."""
    name, _, place = path.partition(":")
    root = Path(place).expanduser()
    _require_known(name)
    if not place or not root.is_dir():
        lacks = f"{place} is not there" if place else "no folder is named"
        raise DataError(
            f"data.path: torchvision:{path}: {lacks}. Expected torchvision:{name}:ROOT, ROOT the folder in which "
            "torchvision finds the data set's files."
        )
    root = root.resolve()
    rows = [row for part, split in _parts(name, root) for row in _rows(name, root, part, split)]
    return Listing(name, Path(f"torchvision:{name}:{root}"), rows)


def _rows(name: str, root: Path, part: str, split: Split | None) -> Iterator[Row]:
    opened = _open(name, str(root), part)
    classes = _classes(opened)
    for number in range(len(opened)):
        file, label = _file_and_label(opened, number)
        if not isinstance(label, int | np.integer):
            raise DataError(
                f"data.path: torchvision:{name} gives {type(label).__name__} as a target. Expected one class for each "
                "picture: data sets for detection, segmentation or several labels are not of use here."
            )
        said = classes[int(label)] if int(label) < len(classes) else str(int(label))
        place: ImagePlace
        if file is not None:
            place, own = FilePlace.at(file), name_below(Path(file), root) if Path(file).is_relative_to(root) else file
        else:
            place, own = SetItem(str(root), name, part, number), f"{part or 'all'}/{number:07d}"
        yield Row(own, place, said, split)


def _file_and_label(opened: Any, number: int) -> tuple[str | None, Any]:
    """The file of an item, where it is one, and its target; of arrays no picture is made."""
    for samples in (getattr(opened, "samples", None), getattr(opened, "_samples", None)):
        if samples is not None and isinstance(samples[number][0], str | Path):
            return str(samples[number][0]), samples[number][1]
    files = getattr(opened, "_image_files", getattr(opened, "_images", None))
    labels = getattr(opened, "_labels", getattr(opened, "labels", getattr(opened, "targets", None)))
    if files is not None and labels is not None and isinstance(files[number], str | Path):
        return str(files[number]), labels[number]
    if labels is not None and len(labels) == len(opened):
        label = labels[number]
        return None, label.item() if hasattr(label, "item") else label
    return None, opened[number][1]


def _classes(opened: Any) -> Sequence[str]:
    known = getattr(opened, "classes", None)
    if known is None:
        by_name = getattr(opened, "class_to_idx", {})
        known = sorted(by_name, key=by_name.__getitem__)
    return [one if isinstance(one, str) else ", ".join(map(str, one)) for one in known]


def _parts(name: str, root: Path) -> list[tuple[str, Split | None]]:
    """Which parts of a data set are there, and which split each is."""
    takes = inspect.signature(_class(name)).parameters
    if "train" in takes and "split" not in takes:
        return [("train", "train"), ("test", "test")]
    if "split" not in takes:
        return [("", None)]
    for spelt in (SPLITS, ONLY | {"val": "val", "test": "test"}):
        there = [(part, split) for part, split in spelt.items() if _has(name, root, part)]
        if any(split == "train" for _, split in there):
            return [one for n, one in enumerate(there) if one[1] not in {s for _, s in there[:n]}]
    raise DataError(
        f"data.path: torchvision:{name}: no part of it can be read from {root} ({_why(name, root)}). "
        f"{_expected(name, str(root))}"
    )


def _has(name: str, root: Path, part: str) -> bool:
    with contextlib.suppress(DataError):
        return len(_open(name, str(root), part)) > 0
    return False


def _why(name: str, root: Path) -> str:
    try:
        _open(name, str(root), "train")
    except DataError as error:
        return str(error.__cause__)
    return "it is empty"


def _open(name: str, root: str, part: str) -> Any:
    """A part of a data set; raises DataError where it is not at `root`."""
    return _sets.get((name, root, part), lambda: _made(name, root, part))


def _made(name: str, root: str, part: str) -> Any:
    made = _class(name)
    takes = inspect.signature(made).parameters
    how: dict[str, Any] = {"download": False} if "download" in takes else {}
    if "split" in takes:
        how["split"] = part
    elif "train" in takes:
        how["train"] = part == "train"
    try:
        return made(root, **how)
    except Exception as error:  # each data set raises what its parser meets
        said = " ".join(str(error).split())
        raise DataError(
            f"data.path: torchvision:{name} cannot be read from {root} ({said}). {_expected(name, root)}"
        ) from error


def _expected(name: str, root: str) -> str:
    """How the files of a data set come to be there."""
    if any("download" in inspect.signature(base).parameters for base in _class(name).__mro__[:-1]):
        return f"Expected it there as torchvision downloads it: torchvision.datasets.{name}({root!r}, download=True)."
    return (
        f"Expected it there as torchvision.datasets.{name}({root!r}) reads it, without further arguments: torchvision "
        "does not download this one."
    )


def _class(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)


def _require_known(name: str) -> None:
    from torchvision import datasets

    if name in datasets.__all__ and "root" not in inspect.signature(_class(name)).parameters:
        raise DataError(
            f"data.path: torchvision:{name} takes no folder: there are no files that it reads. Expected a data set of "
            "torchvision.datasets that lies on the disk, such as CIFAR10."
        )
    if name not in datasets.__all__:
        near = get_close_matches(name, datasets.__all__, 3, 0.4)
        raise DataError(
            f"data.path: torchvision has no data set {name!r}. Expected one of torchvision.datasets, such as "
            f"{' or '.join(near or ['CIFAR10'])}: torchvision:NAME:ROOT."
        )
