"""The quarantine of an audit becomes sentences and a list: files that are no image, classes that have none left."""

from __future__ import annotations

from collections.abc import Iterator

from featcache.audit.audit_records import Audit
from featcache.audit.finding_views import BELOW, Lines
from featcache.counted_nouns import counted
from featcache.records import SPLITS


def unreadable_said(audit: Audit) -> Iterator[str]:
    """Files that cannot be read."""
    bad = audit.quarantined
    if bad:
        yield f"{counted(len(bad), 'file')} cannot be read as an image, such as {bad[0].name} ({bad[0].reason})."


def gone_said(audit: Audit) -> Iterator[str]:
    """Classes without any image that can be read in a split."""
    for split in SPLITS:
        names = [count.name for count in audit.balance if not getattr(count, split)]
        if names and audit.quarantined and split == "train":
            yield (
                f"No image of {' or '.join(map(repr, names))} in {split} can be read: nothing can be trained on this "
                "data before some are mended, or the class is taken out of every split."
            )
        elif names and audit.quarantined:
            yield (
                f"No image of {' or '.join(map(repr, names))} in {split} can be read: figures of {split} leave out the "
                "class."
            )


def unreadable_lines(audit: Audit) -> Iterator[Lines]:
    """Every file with its reason, on a terminal."""
    yield Lines("Unreadable", _lines(audit), rank=BELOW)


def unreadable_files(audit: Audit) -> Iterator[Lines]:
    """The same on a page."""
    yield Lines("Files that cannot be read", _lines(audit), folded=False, rank=BELOW)


def _lines(audit: Audit) -> tuple[str, ...]:
    return tuple(f"{bad.name}: {bad.reason}" for bad in audit.quarantined)
