"""What is said of images that have the same content under two labels, or in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from featcache.counted_nouns import counted, have
from featcache.options import DataOptions
from featcache.records import ImageRecord


def repeats_said(images: Sequence[ImageRecord], classes: Sequence[str], options: DataOptions) -> list[str]:
    """A sentence each on contents with several labels, and on those in several splits: their labels cannot all be
    right, and figures of splits that share images are too good. With folds, train and val are one."""
    contents: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        contents[image.sha256].append(image)
    copied = [sorted(own, key=lambda i: i.name) for own in contents.values() if len(own) > 1]
    copied.sort(key=lambda own: own[0].name)
    pool = {"val": "train"} if options.folds is not None else {}
    said = []
    if torn := [own for own in copied if len({i.label for i in own}) > 1]:
        pair = _apart(torn[0], [i.label for i in torn[0]])
        names = ", ".join(f"{i.name} ({classes[i.label]})" for i in pair)
        said.append(f"{counted(len(torn), 'content')} {have(len(torn))} several labels: {names}")
    if shared := [own for own in copied if len({pool.get(i.split, i.split) for i in own}) > 1]:
        pair = _apart(shared[0], [pool.get(i.split, i.split) for i in shared[0]])
        names = ", ".join(f"{i.name} ({i.split})" for i in pair)
        said.append(f"{counted(len(shared), 'content')} in more than one split: {names}")
    more = "; `featcache audit` lists all" if len(torn) + len(shared) > len(said) else ""
    return [f"{one}{more}" for one in said]


def _apart(images: Sequence[ImageRecord], kinds: Sequence[object]) -> tuple[ImageRecord, ImageRecord]:
    """The first image and the first that is of another kind."""
    return images[0], next(image for image, kind in zip(images, kinds, strict=True) if kind != kinds[0])
