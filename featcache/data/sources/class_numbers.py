"""Numbers of classes, beside arrays and images, become classes: names where there are some, none for -1."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from featcache.counted_nouns import are, counted
from featcache.data.sources.image_tables import CellError

UNKNOWN = -1  # of an image without a label, as `datasets` and many loaders write it


def class_of(number: int, names: Sequence[str]) -> str:
    """The class of this number, one of `names` where there are any; "" for none.

    Raises CellError for a number that stands for nothing: no list is counted from its end.
    """
    if number == UNKNOWN:
        return ""
    if number < 0:
        raise CellError(f"the class {number}: none is negative but {UNKNOWN}, for an image without a label")
    if names and number >= len(names):
        raise CellError(f"the class {number}, and there {are(len(names))} {counted(len(names), 'name')}")
    return names[number] if names else str(number)


def one_class_said(root: object, classes: Collection[str], unknown: int) -> str:
    """Why nothing can be trained on one class, where the others have no label: -1 may have been meant as one."""
    if not unknown or len(classes) > 1:
        return ""
    rest = f"the others are all of the class {min(classes)!r}" if classes else "there are no others"
    return (
        f"data.path: {root}: {counted(unknown, 'image')} without a label (the class {UNKNOWN}, or no name), and "
        f"{rest}. Expected two or more classes: where {UNKNOWN} is one, give it another number, or a name."
    )
