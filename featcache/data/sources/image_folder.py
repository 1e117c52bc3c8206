"""An image folder becomes rows, each file with its split and its class, or the reason why it cannot be one.

Reads `path/{train,val,test}/<class>/*`, `path/{train,test}/<class>/*`, `path/train/<class>/*`, `path/<class>/*` or
`path/<class>/{train,val,test}/*`, on the disk or in an archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from featcache.counted_nouns import are, counted, have, nouns
from featcache.data.sources.delimited_text import open_delimited
from featcache.data.sources.folder_tree import DiskFolder, Folder, composed, printable
from featcache.data.sources.image_endings import may_be_image
from featcache.data.sources.lone_folder import enter, tables_beside
from featcache.data.sources.rows import SPLIT_NAMES, Listing, Row
from featcache.data.sources.table_columns import usual_labels, usual_score
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import ImagePlace
from featcache.records import Split

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def list_folder(path: str, options: DataOptions) -> Listing:  # noqa: ARG001
    """The image folder at `path`; a lone folder in it is gone into."""
    root = Path(path)
    folder, notices = enter(DiskFolder(root, root))
    listing = lay_out(folder, folder.where)
    return replace(listing, notices=(*notices, *listing.notices))


def lay_out(folder: Folder, root: Path) -> Listing:
    """The splits, classes and images of `folder`, for the data set that data.path `root` names; nothing is opened.

    A class folder without images is no class, and said. An empty split, and fewer than two classes, are refused by what
    is trained on them. Raises DataError where there is no image at all, or a folder that cannot be listed.
    """
    splits = _split_folders(folder)
    rows: list[Row] = []
    ignored: list[str] = []
    empty: dict[str, None] = {}
    refused: list[str] = []
    for split, part in splits.items():
        before = len(rows)
        classes = part.folders()
        for own in classes:
            label = printable(own.name)
            found = [Row(name, place, label, split) for name, place in _image_files(own, ignored)]
            if not found:
                empty[label] = None
            rows += found
        if not classes:
            refused.append(
                f"{part.where}: no class folders there{loose_said([part])}. Expected one folder of images for each "
                "class"
                + (f"; or {_elsewhere(split)}." if split != "train" else ".")
                + (table_hint(part, root) or table_hint(folder, root) or archive_hint(part, root))
            )
        elif len(rows) == before and len(splits) > 1:
            refused.append(
                f"{part.where}: no images there, in none of its {counted(len(classes), 'class folder')}, so that "
                f"{split} is empty. Expected images: {_remedy(split)}."
            )
    there = {composed(row.label) for row in rows}
    without = [name for name in empty if composed(name) not in there]
    loose = [name for part in splits.values() for name in part.files()]
    refused += _too_few(folder, root, rows, without, loose_said(splits.values()))
    if not rows:
        raise DataError(refused[0])
    rows, inside = split_within_classes(rows) if [*splits.values()] == [folder] else (rows, [])
    hint = table_hint(folder, root) if folder in splits.values() and _labels_beside(folder) else ""
    notices = (*inside, *_notices(loose, ignored, without, hint))
    return Listing(
        root.name or "data", root, rows, notices, tuple(ignored), empty=tuple(without), refused="".join(refused[:1])
    )


def _too_few(folder: Folder, root: Path, rows: list[Row], without: list[str], loose: str) -> Iterator[str]:
    """What to say where there are images of one class, or none."""
    classes = sorted({row.label for row in rows})
    if len(classes) >= 2:
        return
    what = f"one class only ({classes[0]!r})" if classes else "no images"
    empty = f"; {_without_said(without)}" if without else ""
    said = f"{folder.where}: {what}{empty}{loose}. Classification needs two or more class folders with images."
    yield said + table_hint(folder, root)


def split_within_classes(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """`rows` of class folders with their splits, where each image is in a split's folder within its class; and what to
    say of it."""
    inside = [row.name.split("/")[1].lower() if row.name.count("/") > 1 else "" for row in rows]
    if not all(name in SPLIT_NAMES for name in inside):
        return rows, []
    split = [row._replace(split=SPLIT_NAMES[name]) for row, name in zip(rows, inside, strict=True)]
    first = "/".join(rows[0].name.split("/")[:2])
    return split, [f"the splits are the folders within the class folders, such as {first}"]


def loose_said(parts: Iterable[Folder]) -> str:
    """The images that are in folders where class folders are expected, in words; "" where there are none."""
    found = [name for part in parts for name in part.files() if may_be_image(name)]
    return f"; {counted(len(found), 'image')} {are(len(found))} in no class folder, such as {found[0]}" if found else ""


def _without_said(without: list[str]) -> str:
    names = ", ".join(map(repr, without[:5])) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
    return f"the {nouns(len(without), 'class')} {names} {have(len(without))} no image"


def _notices(loose: list[str], ignored: list[str], without: list[str], hint: str) -> Iterator[str]:
    """What the user should know of empty classes, of the files beside the class folders, and of those that no image is
    named like."""
    if without:
        yield f"{_without_said(without)} in any split and {are(len(without))} left out"
    if loose:
        said = f"{counted(len(loose), 'file')} ignored beside the class folders, such as {loose[0]}"
        yield f"{said}.{hint}" if hint else said
    if ignored:
        yield f"{counted(len(ignored), 'file')} ignored that no image is named like, such as {ignored[0]}"


def _remedy(split: Split) -> str:
    """What to do where a split has no image."""
    if split == "train":
        return "move some to train"
    return f"move some to {split}, or {_elsewhere(split)}"


def _elsewhere(split: Split) -> str:
    return f"move the {split} folder elsewhere, so that {split} is cut from train"


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


def table_hint(folder: Folder, root: Path) -> str:
    """What to do where a table lies beside folders that are no classes, on the disk or in the archive `root`."""
    tables = tables_beside(folder)
    if not tables:
        return ""
    name = PurePosixPath(tables[0]).name
    if root.is_file():
        return (
            f" If {name!r} in it says which image is what, take that table out of the archive, and name both: "
            f"data.path={name}, data.root={root}."
        )
    return f" If {name!r} says which image is what, name it: data.path={folder.where / name}."


def _labels_beside(folder: Folder) -> bool:
    """Whether the first table in a folder on the disk is one of text with labels, as far as its columns tell."""
    first = next((folder.where / PurePosixPath(name).name for name in tables_beside(folder)), None)
    with suppress(DataError):
        return first is not None and first.is_file() and usual_labels(open_delimited(first, usual_score))
    return False


def archive_hint(folder: Folder, root: Path) -> str:
    """What to do where an archive lies in a folder in which class folders are expected."""
    found = [name for name in folder.files() if name.lower().endswith(ARCHIVES)]
    if not found:
        return ""
    name = PurePosixPath(found[0]).name
    if root.is_file():
        return f" {name!r} is an archive within it, which is not read: take it out, and name that."
    return f" {name!r} is an archive, which is read in place: data.path={folder.where / name}."


def _image_files(folder: Folder, ignored: list[str]) -> Iterator[tuple[str, ImagePlace]]:
    """The image files below `folder`, in name order."""
    for name, place in folder.walk():
        if may_be_image(name):
            yield name, place
        else:
            ignored.append(name)
