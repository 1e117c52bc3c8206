"""The data set that `data.path` names becomes a manifest: which image, which content, which label, which split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featcache.data.class_limit import limit_classes
from featcache.data.class_names import name_classes
from featcache.data.content_hashes import HashMemo
from featcache.data.demo_digits import DEMO_DIGITS, materialise
from featcache.data.depth_decision import decide_depth
from featcache.data.exclude_list import exclude
from featcache.data.few_groups import grouped_by
from featcache.data.image_groups import group_images, groups_said, straddling_said
from featcache.data.image_order import by_content
from featcache.data.image_weights import require_weights, weights_said
from featcache.data.repeated_contents import repeats_said
from featcache.data.source_rows import classes_of, holes_said, splits_of
from featcache.data.sources import Listing, list_images, unreadable
from featcache.data.split_cutting import cut_missing_splits, require_folds
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import ImageRecord, Manifest, Split, digest


def load_manifest(options: DataOptions, cache_dir: str | Path) -> tuple[Manifest, HashMemo]:
    """The data set that `options` names, scanned and hashed; content hashes are remembered under `cache_dir`.

    Raises DataError for a missing path, an empty split, a class that train lacks, or fewer than two classes.
    """
    listing, memo = list_with_memo(options, Path(cache_dir))
    return complete(scan(listing, options, memo), memo, options), memo


def list_with_memo(options: DataOptions, cache_dir: Path) -> tuple[Listing, HashMemo]:
    """What the source holds, and what is known of its contents."""
    listing = list_source(options, cache_dir)
    file = cache_dir / "memo" / f"files-{digest(str(listing.root))[:16]}.json"
    return listing, HashMemo(file, refuse_truncated=options.truncated == "quarantine")


def complete(manifest: Manifest, memo: HashMemo, options: DataOptions) -> Manifest:
    """`manifest` with the depth of all images together, and what is said of copies among them; what was learned on
    the way is remembered."""
    depth, said = decide_depth(manifest.images, memo, options)
    memo.save()
    repeats = repeats_said(manifest.images, manifest.classes, options)
    return replace(manifest, depth=depth, notices=(*said, *manifest.notices, *repeats))


def list_source(options: DataOptions, cache_dir: Path) -> Listing:
    """What the source that data.path names holds; raises DataError where it cannot be used."""
    try:
        if DEMO_DIGITS in (options.path, options.root):
            digits = str(materialise(cache_dir))
            places = {"path": options.path, "root": options.root}
            options = options.model_copy(update={k: digits for k, v in places.items() if v == DEMO_DIGITS})
        return list_images(options.path, options)
    except PermissionError as error:
        raise unreadable(error) from None


def scan(listing: Listing, options: DataOptions, memo: HashMemo) -> Manifest:
    """The manifest of a source's images; raises DataError where nothing can be trained on them."""
    if listing.refused:
        raise DataError(listing.refused)
    named = name_classes(listing, options.classes)
    listing = named.listing
    classes = classes_of(listing)
    splits, present = splits_of(listing)
    images = records(listing, splits, classes, memo, options)
    by = grouped_by(listing, options)
    images, strangers = group_images(images, options.groups)  # first: a table may name what is left out
    require_weights(images)
    images, left_out = exclude(images, classes, listing.root, options.exclude, named.left_out)
    holes = holes_said(images, classes, present)
    images, cut = cut_missing_splits(images, present, classes, options, by)
    images = by_content(images)
    grouped = [*strangers, *groups_said(images, options.groups, by or ""), *straddling_said(images, options.folds)]
    images, limited = limit_classes(images, options)
    if options.folds is not None:
        pool = [i for i in images if i.split in options.training_splits]
        limited += require_folds(pool, classes, options.folds, by)
    weighed = weights_said([i for i in images if i.split in options.training_splits], classes)
    notices = (*named.notices, *left_out, *grouped, *holes, *cut, *limited, *weighed, *listing.notices)
    return Manifest(listing.name, listing.root, classes, tuple(images), notices, listing.ignored)


def records(
    listing: Listing, splits: Sequence[Split], classes: Sequence[str], memo: HashMemo, options: DataOptions
) -> list[ImageRecord]:
    """The source's images with their contents."""
    try:
        hashes = memo.sha256([row.place for row in listing.rows], options.workers or os.cpu_count() or 1)
    except OSError as error:
        raise unreadable(error) from None
    labels = {name: label for label, name in enumerate(classes)}
    return [
        ImageRecord(row.place, row.name, sha256, labels[row.label], split, row.group, row.weight)
        for row, sha256, split in zip(listing.rows, hashes, splits, strict=True)
    ]
