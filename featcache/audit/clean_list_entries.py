"""An audit becomes the files to leave out so that no copy judges itself, each with its reason; none is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from featcache.audit.audit_records import Audit, AuditedImage, Suspect
from featcache.records import SPLITS


@dataclass(frozen=True)
class Excluded:
    """A file to leave out, and why."""

    name: str
    reason: str
    sha256: str


Groups = Iterable[Sequence[AuditedImage]]


def clean_list(audit: Audit, with_suspects: bool = False) -> tuple[Excluded, ...]:
    """What to leave out, in name order: unreadable files, copies, and flagged suspects when they are asked for.

    Of exact copies one stays, that in test before that in val before that in train, the first by name; none where they
    carry different labels. Of near copies across splits those in the last split stay. Quarantined files all go.
    """
    reasons = copies_to_drop([g.images for g in audit.exact], [g.images for g in audit.near])
    hashes = {i.name: i.sha256 for i in _copies(audit)}
    for bad in audit.quarantined:
        reasons[bad.name], hashes[bad.name] = f"cannot be read: {bad.reason}", bad.sha256
    for one in _flagged(audit) if with_suspects else ():
        reasons.setdefault(one.name, f"suspect label: {one.label!r}, looks like {one.suggested!r}")
        hashes[one.name] = one.sha256
    return tuple(Excluded(name, reasons[name], hashes[name]) for name in sorted(reasons))


def copies_to_drop(exact: Groups, near: Groups) -> dict[str, str]:
    """Name -> reason of the copies that go (`clean_list` says which)."""
    reasons: dict[str, str] = {}
    for group in exact:
        labels = sorted({i.label for i in group})
        kept, *others = sorted(group, key=_stays)
        if len(labels) > 1:
            reasons |= {i.name: f"identical files are labelled {' and '.join(map(repr, labels))}" for i in group}
        else:
            reasons |= {i.name: f"the same file as {kept.name}" for i in others}
    for group in near:
        left = sorted((i for i in group if i.name not in reasons), key=_stays)
        reasons |= {i.name: f"a near copy of {left[0].name}" for i in left if i.split != left[0].split}
    return reasons


def emptied(audit: Audit, excluded: Iterable[Excluded]) -> list[str]:
    """A sentence for each class that would have no image left in a split: `data.exclude` refuses such a list."""
    known: dict[str, AuditedImage | Suspect] = {s.name: s for s in audit.suspects}
    known |= {i.name: i for i in _copies(audit)}
    gone = Counter((known[e.name].label, known[e.name].split) for e in excluded if e.name in known)
    return [
        f"The list leaves no image of {count.name!r} in {split}: take some of its lines out."
        for count in audit.balance
        for split in SPLITS
        if 0 < getattr(count, split) <= gone[count.name, split]
    ]


def _copies(audit: Audit) -> Iterator[AuditedImage]:
    for images in (*(g.images for g in audit.exact), *(g.images for g in audit.near)):
        yield from images


def _stays(image: AuditedImage) -> tuple[int, str]:
    """What sorts the copy that stays to the front."""
    return -SPLITS.index(image.split), image.name


def _flagged(audit: Audit) -> Iterable[Suspect]:
    return (s for s in audit.suspects if s.flagged)
