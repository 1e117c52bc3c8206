"""Images without labels that a student learns from, beside those of its data set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from featcache.data import images_below, load_manifest
from featcache.errors import DataError
from featcache.options import Options
from featcache.records import SPLITS, ImageRecord, Manifest


@dataclass(frozen=True)
class UnlabelledImages:
    """Those that are taken, by content in their order (their labels say nothing), and how many are left out since the
    data set has them, by split, or since another is the same file ("again")."""

    images: tuple[ImageRecord, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


def find_unlabelled(named: str, options: Options, data: Manifest) -> UnlabelledImages:
    """The images below `named` that are not in the data set, by content; raises DataError where there are none."""
    path = Path(named).expanduser()
    found = images_below(path) if path.exists() else None
    if found is None:
        raise DataError(f"{named}: training.distillation.unlabelled is no folder. Name one, or a zip or tar of images.")
    _, memo = load_manifest(options.data, options.cache.folder)
    try:
        hashes = memo.sha256([place for _, place in found], options.data.workers or os.cpu_count() or 1)
    except OSError as error:
        raise DataError(f"{named}: cannot be read ({error}).") from None
    memo.save()
    known_in = {i.sha256: split for split in SPLITS for i in data.of(split)}  # what judges wins over train
    images: dict[str, ImageRecord] = {}
    left_out: dict[str, int] = {}
    for (name, place), sha256 in zip(found, hashes, strict=True):
        known = known_in.get(sha256) or ("again" if sha256 in images else None)
        if known is not None:
            left_out[known] = left_out.get(known, 0) + 1
            continue
        images[sha256] = ImageRecord(place, name, sha256, 0, "train")
    if not images:
        raise DataError(
            f"{named}: training.distillation.unlabelled has no image that the data set lacks ({len(found)} in all). "
            "Name a folder of other images, or drop it."
        )
    return UnlabelledImages(tuple(images[one] for one in sorted(images)), left_out)
