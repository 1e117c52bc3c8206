"""Images in, the same with val and test cut from train by content hash out, where the folder has no such split."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import ImageRecord, Split, digest


def cut_missing_splits(
    images: list[ImageRecord], present: Collection[Split], classes: tuple[str, ...], options: DataOptions
) -> tuple[list[ImageRecord], list[str]]:
    """`images` with val and test cut from train where the folder has neither among `present`, and notices of it.

    Each image goes where its content hash says, so adding images moves none and copies stay together; a class that
    would get none gives the image with the lowest hash.
    """
    # Test is cut from what val leaves, and both are fractions of the whole.
    left = 1.0 if "val" in present else 1 - options.val_fraction
    fractions: dict[Split, float] = {"val": options.val_fraction, "test": options.test_fraction / left}
    notices: list[str] = []
    for split in ("val", "test"):
        if split in present:
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


def require_folds(images: Sequence[ImageRecord], classes: Sequence[str], folds: int) -> None:
    """Raise DataError unless every fold can have an image of each class; copies of one file are one image."""
    for label, name in enumerate(classes):
        distinct = len({i.sha256 for i in images if i.label == label})
        if distinct < folds:
            raise DataError(
                f"data.folds: {folds} folds need at least {folds} different images of each class in train and val "
                f"together, and {name!r} has {distinct}. Take fewer folds."
            )
