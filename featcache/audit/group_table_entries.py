"""An audit becomes groups of images that are never to be parted: copies, near copies, and the groups there were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featcache.audit.audit_records import Audit
from featcache.relatives import joined


@dataclass(frozen=True)
class Grouped:
    """A file, its group, and why it is in it."""

    name: str
    group: str
    reason: str
    sha256: str  # of its content; "" where only data.groups has it, by its name


def group_table(audit: Audit) -> tuple[Grouped, ...]:
    """The images that have relatives or a group by data.groups, in name order.

    Groups that share an image become one. One with groups that were given keeps the first of their names; another is
    called by the smallest content hash in it, as that image alone would be: so data.groups moves the others only.
    """
    kinds = {"exact copy": [g.images for g in audit.exact], "near copy": [g.images for g in audit.near]}
    hashes = {i.name: i.sha256 for groups in kinds.values() for images in groups for i in images}
    names = sorted(hashes.keys() | audit.groups.keys())
    why: dict[str, Mapping[str, int | str]] = {
        kind: {image.name: number for number, images in enumerate(groups) for image in images}
        for kind, groups in kinds.items()
    }
    why["data.groups"] = audit.groups
    numbers = joined(*([own.get(name) for name in names] for own in why.values())).tolist()
    called: dict[int, tuple[bool, str]] = {}  # a name that was given comes before a hash
    for name, number in zip(names, numbers, strict=True):
        given = audit.groups.get(name)
        own = (given is None, hashes[name] if given is None else given)
        called[number] = min(own, called.get(number, own))
    return tuple(
        Grouped(
            name, called[number][1], ", ".join(kind for kind, own in why.items() if name in own), hashes.get(name, "")
        )
        for name, number in zip(names, numbers, strict=True)
    )


def group_count(table: Iterable[Grouped]) -> int:
    """Groups of two or more images."""
    return sum(n > 1 for n in Counter(one.group for one in table).values())
