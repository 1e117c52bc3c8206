"""The order that images train in, which no file name has a part in, and the one that people look for them in."""

from __future__ import annotations

from collections.abc import Iterable

from featcache.records import SPLITS, ImageRecord


def by_content(images: Iterable[ImageRecord]) -> list[ImageRecord]:
    """By split, class and content hash, since some sources keep no names: heads are trained on images in this order,
    and so are the same from any source. Names decide among copies alone, which nothing else tells apart."""
    return sorted(images, key=_place_by_content)


def by_name(images: Iterable[ImageRecord]) -> list[ImageRecord]:
    """By split, class and name."""
    return sorted(images, key=lambda i: (SPLITS.index(i.split), i.label, i.name))


def _place_by_content(image: ImageRecord) -> str:
    copy = f"{image.weight} {image.group} {image.name}"
    return f"{SPLITS.index(image.split)} {image.label:08d} {image.sha256} {copy}"  # sorts faster than a tuple
