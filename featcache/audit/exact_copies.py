"""Copies by content hash alone: which files are the same, and which evaluation files leak into training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from featcache.audit.audit_records import AuditedImage, ExactGroup
from featcache.records import ImageRecord, Manifest, Split

# Where a copy of an evaluation image gives it away: val chooses among heads, test judges the one that is chosen.
SEEN: dict[Split, frozenset[Split]] = {"val": frozenset({"train"}), "test": frozenset({"train", "val"})}

H = TypeVar("H", bound=Hashable)


def exact_groups(manifest: Manifest) -> tuple[ExactGroup, ...]:
    """Every two or more files with one sha256: those across splits first, then those with two labels, then by name."""
    found = []
    for sha256, images in _by([i.sha256 for i in manifest.images], manifest.images).items():
        if len(images) > 1:
            members = tuple(AuditedImage.of(i, manifest) for i in images)
            found.append(ExactGroup(sha256, members, across_splits(members), conflicting_labels(members)))
    found.sort(key=lambda g: (not g.across_splits, not g.conflicting_labels, g.images[0].name))
    return tuple(found)


def exact_leaks(manifest: Manifest) -> dict[Split, frozenset[str]]:
    """The names of val files whose bytes are in train too, and of test files whose bytes are in train or val.

    By content hashes alone: takes milliseconds.
    """
    return leaks(manifest, [i.sha256 for i in manifest.images])


def leaks(manifest: Manifest, groups: Sequence[H]) -> dict[Split, frozenset[str]]:
    """`exact_leaks` for copies of any kind: images of the same one of `groups` `[N]` are copies of each other."""
    leaked: dict[Split, frozenset[str]] = {}
    kept = _by(groups, manifest.images)
    for split, before in SEEN.items():
        seen = {g for g, images in kept.items() if any(i.split in before for i in images)}
        names = (i.name for g, i in zip(groups, manifest.images, strict=True) if i.split == split and g in seen)
        leaked[split] = frozenset(names)
    return leaked


def across_splits(images: Iterable[AuditedImage]) -> bool:
    """Whether they lie in more than one split."""
    return len({i.split for i in images}) > 1


def conflicting_labels(images: Iterable[AuditedImage]) -> bool:
    """Whether they are of more than one class."""
    return len({i.label for i in images}) > 1


def _by(keys: Sequence[H], images: Sequence[ImageRecord]) -> dict[H, list[ImageRecord]]:
    grouped: dict[H, list[ImageRecord]] = defaultdict(list)
    for key, image in zip(keys, images, strict=True):
        grouped[key].append(image)
    return grouped
