"""The rows of a source become classes and splits, or the reason why nothing can be trained on them."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.data.sources import Listing
from featcache.errors import DataError
from featcache.records import SPLITS, Split


def classes_of(listing: Listing) -> tuple[str, ...]:
    """The names of the classes, sorted; raises DataError where there are fewer than two."""
    classes = tuple(sorted({row.label for row in listing.rows}))
    if len(classes) < 2:
        what = f"one class only ({classes[0]!r})" if classes else "no images"
        raise DataError(f"{listing.root}: {what}. Classification needs two or more classes.")
    return classes


def splits_of(listing: Listing, classes: Sequence[str]) -> tuple[list[Split], frozenset[Split]]:
    """The split of each row, train where none has any, and which splits there are.

    Raises DataError where some rows have one and others none, train has none, or a split lacks a class.
    """
    stated = {row.split for row in listing.rows}
    if stated == {None}:
        return ["train"] * len(listing.rows), frozenset({"train"})
    lost = next((row.name for row in listing.rows if row.split is None), None)
    if lost is not None:
        raise DataError(
            f"{listing.root}: some images have a split and others none, such as {lost}. Expected one for each, or for "
            "none."
        )
    present = [split for split in SPLITS if split in stated]
    if "train" not in present:
        raise DataError(
            f"{listing.root}: there are images in {' and '.join(present)} and none in train. Expected some there."
        )
    there = {(row.split, row.label) for row in listing.rows}
    for split in present:
        for name in classes:
            if (split, name) not in there:
                raise DataError(
                    f"{listing.root}: the class {name!r} has no image in {split}. Every class needs at least one in "
                    f"every split: take some of it to {split}, or take the class out of all of them."
                )
    return [row.split or "train" for row in listing.rows], frozenset(present)
