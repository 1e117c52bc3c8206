"""The rows of a source become classes and splits, or the reason why nothing can be trained on them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from featcache.counted_nouns import counted
from featcache.data.class_names import few, said_counts
from featcache.data.sources import Listing
from featcache.errors import DataError
from featcache.records import SPLITS, ImageRecord, Split


def classes_of(listing: Listing) -> tuple[str, ...]:
    """The names of the classes, sorted; raises DataError where there are fewer than two."""
    classes = tuple(sorted({row.label for row in listing.rows}))
    if len(classes) < 2:
        what = f"one class only ({classes[0]!r})" if classes else "no images"
        raise DataError(f"{listing.root}: {what}. Classification needs two or more classes.")
    return classes


def splits_of(listing: Listing) -> tuple[list[Split], frozenset[Split]]:
    """The split of each row, train where none has any, and which splits there are.

    Raises DataError where some rows have one and others none, or train lacks a class that val or test has.
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
    _require_trained(listing)
    return [row.split or "train" for row in listing.rows], frozenset(present)


def _require_trained(listing: Listing) -> None:
    """Raise DataError that lists every class that val or test has and train has not."""
    counts: dict[str, Counter[Split | None]] = defaultdict(Counter)
    for row in listing.rows:
        counts[row.label][row.split] += 1
    untrained = [f"{name!r} ({said_counts(counts[name])})" for name in sorted(counts) if not counts[name]["train"]]
    if untrained:
        raise DataError(
            f"{listing.root}: train has no image of {counted(len(untrained), 'class')} that other splits have: "
            f"{few(untrained, ', ', 20)}. No head can learn these: move some of their images to train, mend the names, "
            "or leave them out: data.classes names the classes that are meant."
        )


def holes_said(images: Sequence[ImageRecord], classes: Sequence[str], present: Collection[Split]) -> list[str]:
    """Which classes a split of the source has no image of, and what its figures are then."""
    counts = Counter((i.split, i.label) for i in images)
    said = []
    for split in ("val", "test"):
        there = [label for label in range(len(classes)) if counts[split, label]]
        lacking = [repr(name) for label, name in enumerate(classes) if not counts[split, label]]
        if split in present and lacking:
            line = (
                f"{split} has no images of {few(lacking, ', ')}: its figures for each class say so, its means over "
                f"classes are over {len(there)} of {len(classes)}"
            )
            said.append(line + (", and AUROC says nothing (0.5)" if len(there) == 1 else ""))
    return said
