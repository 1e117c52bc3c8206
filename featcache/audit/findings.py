"""What an audit says to people: sentences, the most serious first."""

from __future__ import annotations

from collections.abc import Iterator

from featcache.audit.audit_records import Audit, Suspect
from featcache.audit.class_balance import balance_notes
from featcache.records import SPLITS


def warnings(audit: Audit, *, enough: bool) -> tuple[str, ...]:
    """Sentences on what was found, and on what was not looked at; `enough` images for distances to say something."""
    return (
        *_leaks(audit),
        *_conflicts(audit),
        *_unreadable(audit),
        *_gone(audit),
        *_labels(audit),
        *_copies(audit),
        *_outliers(audit),
        *balance_notes(audit.balance),
        *_not_seen(audit, enough),
    )


def _leaks(audit: Audit) -> Iterator[str]:
    for split, seen in (("test", "train or val"), ("val", "train")):
        names = audit.leaked.test if split == "test" else audit.leaked.val
        total = audit.data.images["test" if split == "test" else "val"]
        if names:
            yield (
                f"{_count(len(names), f'{split} image')} of {total} ({len(names) / total:.1%}) "
                f"{_have(len(names))} a copy in {seen}, such as {names[0]}: accuracy on {split} is better than it "
                "would be on new images."
            )


def _conflicts(audit: Audit) -> Iterator[str]:
    for groups, what in ((audit.exact, "identical files"), (audit.near, "near copies")):
        mixed = [g for g in groups if g.conflicting_labels]
        if mixed:
            one = mixed[0].images[0]
            other = next(i for i in mixed[0].images if i.label != one.label)
            yield (
                f"{_count(len(mixed), 'group')} of {what} {_have(len(mixed))} different labels, such as {one.name} "
                f"({one.label!r}) and {other.name} ({other.label!r}): at most one is right."
            )


def _unreadable(audit: Audit) -> Iterator[str]:
    bad = audit.quarantined
    if bad:
        yield f"{_count(len(bad), 'file')} cannot be read as an image, such as {bad[0].name} ({bad[0].reason})."


def _gone(audit: Audit) -> Iterator[str]:
    for split in SPLITS:
        names = [count.name for count in audit.balance if not getattr(count, split)]
        if names and audit.quarantined:
            yield (
                f"No image of {' or '.join(map(repr, names))} in {split} can be read: nothing can be trained on this "
                "data before some are mended, or the class is taken out of every split."
            )


def _labels(audit: Audit) -> Iterator[str]:
    flagged: list[Suspect] = [s for s in audit.suspects if s.flagged]
    if flagged:
        first = flagged[0]
        yield (
            f"{_count(len(flagged), 'label')} {'is' if len(flagged) == 1 else 'are'} contradicted by the other images, "
            f"such as {first.name}: labelled {first.label!r}, looks like {first.suggested!r}. Look at them."
        )


def _copies(audit: Audit) -> Iterator[str]:
    for groups, what in ((audit.exact, "identical files"), (audit.near, "near copies")):
        within = [g for g in groups if not g.across_splits]
        if within:
            yield (
                f"{_count(len(within), 'group')} of {what} within one split, such as {within[0].images[0].name} and "
                f"{within[0].images[1].name}: such an image counts more than once."
            )


def _outliers(audit: Audit) -> Iterator[str]:
    flagged = [o for o in audit.outliers if o.flagged]
    if flagged:
        yield f"{_count(len(flagged), 'image')} unlike any other, such as {flagged[0].name}. Look whether they belong."


def _not_seen(audit: Audit, enough: bool) -> Iterator[str]:
    if not audit.backbones:
        yield (
            "No backbone's features were at hand: only content hashes were compared. Near-duplicates, suspect labels "
            "and outliers were not looked for."
        )
    elif not enough:
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


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
