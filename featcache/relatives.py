"""Images that do not speak for each other: files of the same content, and those of one group (`data.groups`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.records import ImageRecord

LONG = 40  # characters of a group's name


def joined(*kinds: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """For each of N items the number of the first that it is linked to, directly or by way of others `[N]`.

    Each of `kinds` `[N]` links the items that have the same of it; None links nothing.
    """
    parent = list(range(len(kinds[0])))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = one = parent[parent[one]]
        return one

    for kind in kinds:
        first: dict[Hashable, int] = {}
        for place, key in enumerate(kind):
            if key is not None:
                low, high = sorted((root(first.setdefault(key, place)), root(place)))
                parent[high] = low
    return np.array([root(i) for i in range(len(parent))], dtype=np.int64)


def relatives(images: Sequence[ImageRecord], *more: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """For each image `[N]` the number of the first that it is never parted from: equal contents, and those of a group;
    and those that have the same of `more` `[N]`, such as near copies."""
    return joined([i.sha256 for i in images], [i.group for i in images], *more)


def family_names(images: Sequence[ImageRecord]) -> list[str]:
    """A name for each image, the same for relatives: the first of their groups' by name, else the content hash.

    It does not depend on which other images there are, so what is drawn by it stays when images are added.
    """
    numbers = relatives(images).tolist()
    groups: dict[int, str] = {}
    for number, image in zip(numbers, images, strict=True):
        if image.group is not None:
            groups[number] = min(image.group, groups.get(number, image.group))
    return [groups.get(number, image.sha256) for number, image in zip(numbers, images, strict=True)]


def content_names(contents: Iterable[str]) -> tuple[str, ...]:
    """What each image is called by its content hash, whatever its file is called: copies are numbered, in order."""
    seen: Counter[str] = Counter()
    names = []
    for content in contents:
        seen[content] += 1
        names.append(content if seen[content] == 1 else f"{content} {seen[content]}")
    return tuple(names)


def has_groups(images: Sequence[ImageRecord]) -> bool:
    """Whether any image has a group."""
    return any(i.group is not None for i in images)


def shown(group: str) -> str:
    """A group's name in a message, in quotes: a long one, such as a content hash, by its beginning."""
    return repr(group if len(group) <= LONG else f"{group[:12]}..")
