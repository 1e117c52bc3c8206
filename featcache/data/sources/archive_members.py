"""An archive's members become the folder that would lie there if it were unpacked; nothing is unpacked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from featcache.counted_nouns import counted
from featcache.data.pillow_files import MAX_BYTES
from featcache.data.sources.folder_tree import Folder, MemberFolder, printable
from featcache.data.sources.image_folder import lay_out
from featcache.data.sources.lone_folder import enter
from featcache.data.sources.rows import Listing
from featcache.data.sources.source_images import SourceImages
from featcache.errors import DataError
from featcache.places import ImagePlace, file_stamp

ENDINGS = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A file in an archive, and where in it what is of this file begins."""

    archive: str
    member: str
    offset: int  # bytes

    @property
    def key(self) -> str:
        """The archive and the member."""
        return f"{self.archive}\0{self.member}"

    @property
    def position(self) -> tuple[str, int]:
        """As it lies in the archive."""
        return self.archive, self.offset

    def stamp(self) -> tuple[int, int]:
        """Of the archive."""
        return file_stamp(self.archive)


def list_archive(archive: Path, members: Iterable[tuple[str, ImagePlace]]) -> Listing:
    """The rows of an archive that is laid out inside as an image folder is; a lone folder at its top is gone into.

    Raises DataError for a member whose name leaves the archive, and as `lay_out` does.
    """
    folder, notices, twice = _folder(archive, members)
    listing = lay_out(folder, archive)
    doubled = (
        [f"{counted(len(twice), 'name')} several times in it, such as {twice[0]}: the last is read"] if twice else []
    )
    return replace(listing, name=plain_name(archive), notices=(*notices, *listing.notices, *doubled))


def archive_images(archive: Path, members: Iterable[tuple[str, ImagePlace]]) -> SourceImages:
    """The members of an archive, whatever folders they are in, called as `list_archive` calls them."""
    folder, _, _ = _folder(archive, members)
    top = folder.where.relative_to(archive).as_posix()
    return SourceImages(str(archive), dict(folder.walk()), "" if top == "." else f"{top}/")


def _folder(archive: Path, members: Iterable[tuple[str, ImagePlace]]) -> tuple[Folder, list[str], list[str]]:
    """The folder in an archive that is meant, what the user should know of it, and the names that are there twice."""
    found: dict[str, ImagePlace] = {}
    twice = []
    for name, place in members:
        plain = member_name(archive, name)
        if plain in found:
            twice.append(plain)
        found[plain] = place
    if not found:
        raise DataError(f"data.path: {archive} holds no files. Expected <class>/* or train/<class>/* in it.")
    return *enter(MemberFolder(archive, found)), twice


def plain_name(archive: Path) -> str:
    """The archive's name without what says that it is one."""
    ending = next((e for e in ENDINGS if archive.name.lower().endswith(e)), "")
    return archive.name[: len(archive.name) - len(ending)] or "data"


def member_name(archive: Path, name: str) -> str:
    """A member's name below the archive's top, ".." taken out of it as paths in tables have it; raises DataError where
    it would lie outside if it were unpacked."""
    parts: list[str] = []
    outside = False
    for part in PurePosixPath(name.replace("\\", "/") if "/" not in name else name).parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            outside = True
    if outside or name.startswith(("/", "\\")) or name[1:3] in {":/", ":\\"}:
        raise DataError(
            f"data.path: {archive}: its member {printable(name)!r} would lie outside the folder that the archive is "
            "unpacked to. Expected names below it: such an archive is broken, or made to do harm. Make it anew."
        )
    return printable("/".join(parts))


def why_refused(size: int) -> str | None:
    """Why a member of so many bytes is not read; None where it is."""
    if size > MAX_BYTES:
        return f"{size} bytes are more than the {MAX_BYTES} that an image may have"
    return None
