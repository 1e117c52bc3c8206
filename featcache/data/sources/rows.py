"""What every source of images gives: rows of name, place, label, split, group and weight, and what to say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from featcache.options import DataOptions
from featcache.places import ImagePlace
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


class Row(NamedTuple):
    """One image of a source; a tuple, since there may be millions."""

    name: str  # that no other row has: what tables and messages show
    place: ImagePlace
    label: str  # the name of its class
    split: Split | None = None  # None in every row: the splits are cut
    group: str | None = None
    weight: float = 1.0  # what it counts in the loss of training beside the others; 0 or more, finite


@dataclass(frozen=True)
class Listing:
    """What a source holds, before any image is read."""

    name: str  # of the data set
    root: Path  # what data.path names
    rows: Sequence[Row]
    notices: tuple[str, ...] = ()  # what the user should know of how it was read
    ignored: tuple[str, ...] = ()  # what lies among the images and is none by its name
    grouped: str = ""  # by what the rows have groups, in a few words; "" where they have none
    empty: tuple[str, ...] = ()  # names of classes that have a place there, and no image
    refused: str = ""  # why nothing can be trained on them, where that is known by how they lie there


@runtime_checkable
class DataSource(Protocol):
    """A kind of source: what reads it. Packages bring more by entry point, in the group `featcache.data_sources`."""

    def __call__(self, path: str, options: DataOptions) -> Listing:
        """What the source at `path` holds: data.path, less the kind and the colon before it where that was given.

        Raises DataError where it cannot be used.
        """
