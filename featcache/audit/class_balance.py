"""Images become counts by class and split, and these a table, and sentences where one is worth it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from featcache.audit.audit_records import Audit, ClassCount
from featcache.audit.finding_views import ABOVE, Table
from featcache.counted_nouns import counted
from featcache.records import SPLITS, Manifest

UNEVEN = 3.0  # the largest class over the smallest, in train
SHARES = 0.05  # a class's share in val or test less that in train, at least
DEVIATIONS = 3.0  # and at least so many standard errors of the difference


def balance(manifest: Manifest) -> tuple[ClassCount, ...]:
    """The images of each class, in the classes' order."""
    counted = {s: [0] * len(manifest.classes) for s in SPLITS}
    for image in manifest.images:
        counted[image.split][image.label] += 1
    return tuple(ClassCount(n, *(counted[s][k] for s in SPLITS)) for k, n in enumerate(manifest.classes))


def balance_said(audit: Audit) -> Iterator[str]:
    """Classes that are far from even, or differ between splits by more than chance would make them."""
    counts = audit.balance
    ordered = sorted(counts, key=lambda c: c.train)
    least, most = ordered[0], ordered[-1]
    if most.train > UNEVEN * least.train:
        yield (
            f"The classes are far from even in train: {counted(most.train, 'image')} of {most.name!r}, {least.train} "
            f"of {least.name!r}."
        )
    train = sum(c.train for c in counts)
    for split, total in (("val", sum(c.val for c in counts)), ("test", sum(c.test for c in counts))):
        for count in counts:
            here = count.val if split == "val" else count.test
            if _differ(count.train, train, here, total):
                yield (
                    f"{count.name!r} is {count.train / train:.1%} of train ({count.train} of {train}) but "
                    f"{here / total:.1%} of {split} ({here} of {total})."
                )


def image_table(audit: Audit) -> Iterator[Table]:
    """Every class, on a terminal."""
    yield _table("Images", audit)


def class_table(audit: Audit) -> Iterator[Table]:
    """The same on a page, before what is found in them."""
    yield replace(_table("Classes", audit), rank=ABOVE)


def _table(title: str, audit: Audit) -> Table:
    rows = tuple((c.name, str(c.train), str(c.val), str(c.test)) for c in audit.balance)
    return Table("balance", title, ("class", *SPLITS), rows, frozenset(SPLITS))


def _differ(a: int, of_a: int, b: int, of_b: int) -> bool:
    """Whether two shares differ by `SHARES`, and by more than their sampling error explains."""
    if not of_a or not of_b:
        return False
    pooled = (a + b) / (of_a + of_b)
    error = (pooled * (1 - pooled) * (1 / of_a + 1 / of_b)) ** 0.5
    gap = abs(a / of_a - b / of_b)
    return gap >= SHARES and gap > DEVIATIONS * error
