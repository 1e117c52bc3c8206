"""An image folder becomes a manifest: which file, which content, which label, which split.

Reads `path/{train,val,test}/<class>/*`, `path/{train,test}/<class>/*`, `path/train/<class>/*` or `path/<class>/*`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from featcache.data import demo_digits
from featcache.data.content_hashes import HashMemo
from featcache.data.exclude_list import exclude
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, ImageRecord, Manifest, Split, digest

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
JUNK = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "icon\r"}


def load_manifest(options: DataOptions, cache_dir: str | Path) -> tuple[Manifest, HashMemo]:
    """The data set that `options` names, scanned and hashed; content hashes are remembered under `cache_dir`.

    Raises DataError for a missing path, an empty split, a class missing in a split, or fewer than two classes.
    """
    cache_dir = Path(cache_dir)
    try:
        root = (
            demo_digits.materialise(cache_dir)
            if options.path == demo_digits.DEMO_DIGITS
            else Path(options.path).expanduser()
        )
        found = root.is_dir()
    except RuntimeError as error:  # ~somebody who has no home
        raise DataError(f"data.path: {options.path}: {error}") from None
    except PermissionError as error:
        raise _unreadable(error) from None
    if not found:
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"data.path: {root} {what}. Expected an image folder: {root}/<class>/*, or {root}/train/<class>/*."
        )
    root = root.resolve()
    memo = HashMemo(cache_dir / "memo" / f"files-{digest(str(root))[:16]}.json")
    manifest = scan(root, options, memo)
    memo.save()
    if options.folds is not None:
        pool = [i for i in manifest.images if i.split in options.training_splits]
        require_folds(pool, manifest.classes, options.folds)
    return manifest, memo


def require_folds(images: Sequence[ImageRecord], classes: Sequence[str], folds: int) -> None:
    """Raise DataError unless every fold can have an image of each class; copies of one file are one image."""
    for label, name in enumerate(classes):
        distinct = len({i.sha256 for i in images if i.label == label})
        if distinct < folds:
            raise DataError(
                f"data.folds: {folds} folds need at least {folds} different images of each class in train and val "
                f"together, and {name!r} has {distinct}. Take fewer folds."
            )


def scan(root: Path, options: DataOptions, memo: HashMemo) -> Manifest:
    """The manifest of the image folder at `root`."""
    splits = _split_folders(root)
    folders = _class_folders(root, splits)
    classes = tuple(_printable(name) for name in folders)
    files: list[tuple[Split, int, Path]] = []
    ignored: list[str] = []
    for split, folder in splits.items():
        for label, name in enumerate(folders):
            found = list(_image_files(folder / name, ignored, root))
            if not found:
                raise DataError(
                    f"{folder / name}: no images there, so the class {name!r} is empty in {split}. "
                    "Every class needs at least one image in every split."
                )
            files += [(split, label, path) for path in found]
    workers = options.workers or os.cpu_count() or 1
    try:
        hashes = memo.sha256([path for _, _, path in files], workers)
    except OSError as error:
        raise _unreadable(error) from None
    images = [
        ImageRecord(path, _name(path, root), sha256, label, split)
        for (split, label, path), sha256 in zip(files, hashes, strict=True)
    ]
    images, left_out = exclude(images, classes, root, options.exclude)
    images, notices = _cut_missing_splits(images, splits, classes, options)
    notices = [*left_out, *notices]
    loose = [p for folder in splits.values() for p in sorted(folder.iterdir()) if p.is_file() and not _is_junk(p.name)]
    if loose:
        notices.append(
            f"{len(loose)} file{'s' * (len(loose) > 1)} ignored beside the class folders, such as "
            f"{_name(loose[0], root)}"
        )
    if ignored:
        notices.append(
            f"{len(ignored)} file{'s' * (len(ignored) > 1)} ignored that no image is named like, such as {ignored[0]}"
        )
    images.sort(key=lambda i: (SPLITS.index(i.split), i.label, i.name))
    return Manifest(root.name or "data", root, classes, tuple(images), tuple(notices), tuple(ignored))


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
                f"{splits[split]}: the class {missing[0]!r} is missing in {split} (it is in {has}). "
                "Every split must have the same class folders, spelt alike."
            )
    if len(everything) < 2:
        raise DataError(f"{root}: one class only ({everything[0]!r}). Classification needs two or more class folders.")
    return tuple(everything)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not _is_junk(p.name) and p.is_dir())
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> DataError:
    return DataError(f"{error.filename}: cannot be read: {error.strerror}. Mend it or remove it.")


def _image_endings() -> set[str]:
    """The endings of the formats that Pillow opens by itself: no placeholders for HDF5, no documents."""
    formats = set(Image.registered_extensions().values()) & set(Image.OPEN)
    formats -= {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
    return {ending for ending, name in Image.registered_extensions().items() if name in formats}


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
            # A file without an ending may well be an image; one called .txt or .csv is not meant to be.
            if path.suffix and path.suffix.lower() not in endings:
                ignored.append(_name(path, root))
            elif path.is_file() or path.is_symlink():
                yield path


def _refuse(error: OSError) -> None:
    """A folder that cannot be listed is an error: passing over it would train on a part of the data in silence."""
    raise _unreadable(error) from None


def _name(path: Path, root: Path) -> str:
    """`path` below `root`, with "/" between its parts."""
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    """A file's name as UTF-8 that can be written anywhere, whatever bytes it holds."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _cut_missing_splits(
    images: list[ImageRecord], splits: dict[Split, Path], classes: tuple[str, ...], options: DataOptions
) -> tuple[list[ImageRecord], list[str]]:
    """Cut val and test from train where the folder lacks them.

    Each image goes where its content hash says, so adding images moves none and copies stay together; a class that
    would get none gives the image with the lowest hash.
    """
    # Test is cut from what val leaves, and both are fractions of the whole.
    left = 1.0 if "val" in splits else 1 - options.val_fraction
    fractions: dict[Split, float] = {"val": options.val_fraction, "test": options.test_fraction / left}
    notices: list[str] = []
    for split in ("val", "test"):
        if split in splits:
            continue
        moved: set[tuple[int, str]] = set()
        for label, name in enumerate(classes):
            here = sorted(
                {_draw(i.sha256, split): i.sha256 for i in images if i.split == "train" and i.label == label}.items()
            )
            if len(here) < 2:
                raise DataError(
                    f"the class {name!r} has too few distinct images in train to cut {split} from it. "
                    f"Add images, or make a {split} folder."
                )
            chosen = [sha for u, sha in here if u < fractions[split]] or [here[0][1]]
            if len(chosen) == len(here):
                chosen = chosen[:-1]
            moved |= {(label, sha) for sha in chosen}
        images = [
            ImageRecord(i.path, i.name, i.sha256, i.label, split)
            if i.split == "train" and (i.label, i.sha256) in moved
            else i
            for i in images
        ]
        count = sum(i.split == split for i in images)
        notices.append(f"no {split} split in the folder: {count} images cut from train by content hash")
    return images, notices


def _draw(sha256: str, split: str) -> float:
    """A number in [0, 1) that depends on the content and the split alone."""
    return int(digest([split, sha256])[:13], 16) / 16**13
