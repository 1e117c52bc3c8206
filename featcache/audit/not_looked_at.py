"""What an audit was made from becomes sentences on what it did not look at, or could hardly tell."""

from __future__ import annotations

from collections.abc import Iterator

from featcache.audit.audit_records import Audit
from featcache.audit.near_groups import MIN_IMAGES


def not_looked_at_said(audit: Audit) -> Iterator[str]:
    """For want of features, of images, of another backbone, of pretrained weights."""
    contents = sum(audit.data.images.values()) - sum(len(group.images) - 1 for group in audit.exact)
    if not audit.backbones:
        yield (
            "No backbone's features were at hand: only content hashes were compared. Near-duplicates, suspect labels "
            "and outliers were not looked for."
        )
    elif contents < MIN_IMAGES:
        yield "There are too few different images to tell near-duplicates and outliers by distance: not looked for."
    elif len(audit.backbones) == 1:
        yield "One backbone was asked: it takes closer copies to be sure of them, and some are missed. Add another."
    if audit.backbones and all(b.weights.startswith("random(") for b in audit.backbones):
        yield (
            "Every backbone has random weights: copies are found, but suspect labels and outliers are weak evidence. "
            "Add a pretrained one."
        )
    if audit.backbones and not audit.suspects:
        yield "Suspect labels were not looked for: that takes different images of two or more classes."
