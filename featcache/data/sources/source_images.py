"""Images as tables name them become images of a source: members of an archive, cells of a table, rows of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featcache.counted_nouns import counted
from featcache.data.sources.folder_tree import printable
from featcache.data.sources.image_tables import Table
from featcache.data.sources.listed_files import ListedFiles, Spelling, plain_spelling
from featcache.errors import DataError
from featcache.places import ImagePlace, NoPlace


@dataclass(frozen=True)
class SourceImages:
    """The images of the source that data.root names, by the names that its own listing has, with labels or without."""

    said: str  # the source, in words
    places: Mapping[str, ImagePlace]
    top: str = ""  # what their full names have in front: a lone folder that is gone into


@dataclass(frozen=True)
class ListedImages:
    """The images of a source as a table names them."""

    source: SourceImages
    spelling: Spelling | None = None  # None where names are those of the source
    said: str = ""

    @classmethod
    def of(cls, names: Sequence[str], source: SourceImages, table: Path) -> ListedImages:
        """How `names`, some of the table's, name images; raises DataError where none of them is in the source."""
        listed = cls(source)
        tried = [plain_spelling(name, listed.has) for name in names]
        if any(listed.whole(name) is not None for name in tried):
            return listed
        spelling = Spelling.of(tried, source.places)
        if spelling is None:
            there = next(iter(source.places), None)
            raise DataError(
                f"data.path: {table}: none of its images is in {source.said}, such as {names[0]!r}. Expected names of "
                f"its {counted(len(source.places), 'file')}"
                + (f", such as {there!r}" if there is not None else "")
                + ": `featcache split` writes a table of them. Mend the names, or data.root."
            )
        return cls(source, spelling, f"images of {table.name} are looked for in {source.said} by their {spelling.how}")

    def find(self, listed: str) -> tuple[str, ImagePlace]:
        """Name and place of the image that a table names; raises DataError where several are called so."""
        plain = plain_spelling(listed, self.has)
        name = self.whole(plain) if self.spelling is None else self.spelling.find(plain, self.source.said)
        if name is None:
            missing = NoPlace(
                f"{self.source.said}\0{plain}", f"the table names it, and there is no such image in {self.source.said}"
            )
            return printable(plain), missing
        return name, self.source.places[name]

    def has(self, name: str) -> bool:
        """Whether an image is called so."""
        return self.whole(name) is not None

    def whole(self, plain: str) -> str | None:
        """The image of this name, whether or not it has the lone folder in front; None where there is none."""
        if plain in self.source.places:
            return plain
        below = plain.removeprefix(self.source.top)
        return below if below in self.source.places else None


NamedImages = ListedFiles | ListedImages


def named_images(names: Sequence[str], below: Path | SourceImages | None, table: Table) -> NamedImages:
    """How `names`, some of the table's, name images `below` a folder (None: its own) or in a source.

    Raises DataError where none of them is there, unless the table holds other images itself: then each that is missing
    is set aside.
    """
    try:
        if isinstance(below, SourceImages):
            return ListedImages.of(names, below, table.file)
        return ListedFiles.of(names, below, table.file)
    except DataError:
        if not table.linked:
            raise
        return ListedImages(below) if isinstance(below, SourceImages) else ListedFiles(below or table.file.parent)
