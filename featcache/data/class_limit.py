"""Images in, at most so many of each class (`data.limit`) out, chosen by content."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from featcache.data.class_names import few
from featcache.options import DataOptions
from featcache.records import SPLITS, ImageRecord, Split, digest


def limit_classes(images: Sequence[ImageRecord], options: DataOptions) -> tuple[list[ImageRecord], list[str]]:
    """Those of `images` that `data.limit` takes, in their order, and what the user should know of it.

    A smaller limit takes some of a larger one's, and adding images exchanges single ones; copies of a content come
    after all that are no copies. With folds, train and val are one and have the limit of train.
    """
    limit = options.limit
    if limit is None:
        return list(images), []
    pool: dict[Split, Split] = {"val": "train"} if options.folds else {}
    most = {"train": limit.train, "val": limit.val, "test": limit.test}
    parts: dict[tuple[Split, int], list[ImageRecord]] = defaultdict(list)
    for image in images:
        parts[pool.get(image.split, image.split), image.label].append(image)
    taken = {i.name for (split, _), own in parts.items() for i in _ranked(own)[: most[split]]}
    left = [i for i in images if i.name in taken]
    before, after = Counter(i.split for i in images), Counter(i.split for i in left)
    said = [f"{after[s]} of {before[s]} {s} images" for s in SPLITS if after[s] < before[s]]
    if not said:
        return left, [f"data.limit: no class has more, all {len(left)} images are taken"]
    return left, [f"data.limit: {few(said, ', ')} taken, chosen by content"]


def _ranked(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    """In the order that they are taken in."""
    copies: Counter[str] = Counter()
    keys: dict[str, tuple[int, str, str]] = {}
    for image in sorted(images, key=lambda i: i.name):
        keys[image.name] = copies[image.sha256], digest(["limit", image.sha256]), image.name
        copies[image.sha256] += 1
    return sorted(images, key=lambda i: keys[i.name])
