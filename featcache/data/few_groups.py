"""What a user can do where no class has groups or images enough for what is to be cut: the end of such an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from featcache.data.sources import Listing
from featcache.options import DataOptions
from featcache.records import ImageRecord
from featcache.relatives import family_names, has_groups


def remedy_of_few(images: Sequence[ImageRecord], other: str, by: str | None = None) -> str:
    """Sentences on where more could come from; `other` is what else can be done, as in "make a val folder". `by` is
    what the source has groups by, "" where it does not say; None where data.groups made them.

    Of groups, more images of the same ones are no help: what is missing is other groups, or a rule that makes more.
    """
    if not has_groups(images):
        return f"Add images, or {other}."
    pairs = {(i.label, family) for i, family in zip(images, family_names(images), strict=True)}
    most = max(Counter(label for label, _ in pairs).values(), default=0)
    each = "each class is one group" if most == 1 else f"no class has more than {most} groups"
    if by is None:
        rule, another = "data.groups", "another level or pattern for data.groups"
    elif by:
        rule, another = by, "another column (data.columns.group), or a rule of data.groups"
    else:
        rule, another = "the groups that the source gives", "a rule of data.groups"
    return (
        f"By {rule} {each}, and a group is never parted: more images of the same groups do not help. Take {another}, "
        f"by which a class has several, add images of other groups, or {other}."
    )


def grouped_by(listing: Listing, options: DataOptions) -> str | None:
    """By what images have groups, as `remedy_of_few` takes it."""
    return None if options.groups is not None else listing.grouped
