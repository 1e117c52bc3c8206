"""What a finding shows, as records that a terminal and a page each draw in their own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

FIRST = 10  # rows of a long table on a terminal
PICTURED = 40  # groups or images with pictures on a page: every one of them is in the page's file

# Views stand in the order of the findings, but those of a lower rank above and those of a higher one below.
ABOVE, BELOW = -1, 1

Item = TypeVar("Item")


@dataclass(frozen=True)
class Lines:
    """A list, of which a terminal shows the first lines; nothing where it is empty."""

    kind: ClassVar[str] = "lines"
    title: str
    lines: tuple[str, ...]
    folded: bool = True  # whether a page shows the first lines, and the rest once it is opened
    rank: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images whose pictures are wanted."""
        return ()


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    kind: ClassVar[str] = "table"
    name: str  # of its place on a page
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()  # columns to be set flush right
    rank: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images whose pictures are wanted."""
        return ()


@dataclass(frozen=True)
class Remark:
    """A few words beside a picture: a label in a frame, by the way, a warning, or how alike a group is."""

    text: str
    kind: Literal["tag", "muted", "bad", "cosine"] = "tag"


@dataclass(frozen=True)
class Pictured:
    """An image with its picture, its name and what is to be said of it."""

    name: str
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class _Gallery(Generic[Item]):
    """Items with their pictures, the first of them open, under a title and a note."""

    title: str
    note: str
    items: tuple[Item, ...]
    rank: int = 0


@dataclass(frozen=True)
class Pictures(_Gallery[Pictured]):
    """Images, each on its own."""

    kind: ClassVar[str] = "pictures"

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images whose pictures are wanted."""
        return tuple(item.name for item in self.items)


@dataclass(frozen=True)
class PicturedGroup:
    """Images that belong together, and what is to be said of them all."""

    images: tuple[Pictured, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True)
class Groups(_Gallery[PicturedGroup]):
    """Groups of images."""

    kind: ClassVar[str] = "groups"

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images whose pictures are wanted."""
        return tuple(image.name for group in self.items for image in group.images)


TerminalView = Lines | Table
PageView = Lines | Table | Pictures | Groups
