"""The data set that `data.path` names becomes a manifest: which file, which content, which label, which split."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from featcache.data.content_hashes import HashMemo
from featcache.data.demo_digits import DEMO_DIGITS, materialise
from featcache.data.depth_decision import decide_depth
from featcache.data.exclude_list import exclude
from featcache.data.image_folder import name_below, printable, read_image_folder, unreadable
from featcache.data.image_groups import group_images, groups_said, straddling_said
from featcache.data.split_cutting import cut_missing_splits, require_folds
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, ImageRecord, Manifest, digest


def load_manifest(options: DataOptions, cache_dir: str | Path) -> tuple[Manifest, HashMemo]:
    """The data set that `options` names, scanned and hashed; content hashes are remembered under `cache_dir`.

    Raises DataError for a missing path, an empty split, a class missing in a split, or fewer than two classes.
    """
    cache_dir = Path(cache_dir)
    try:
        root = materialise(cache_dir) if options.path == DEMO_DIGITS else Path(options.path).expanduser()
        found = root.is_dir()
    except RuntimeError as error:  # ~somebody who has no home
        raise DataError(f"data.path: {options.path}: {error}") from None
    except PermissionError as error:
        raise unreadable(error) from None
    if not found:
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"data.path: {root} {what}. Expected an image folder: {root}/<class>/*, or {root}/train/<class>/*."
        )
    root = root.resolve()
    file = cache_dir / "memo" / f"files-{digest(str(root))[:16]}.json"
    memo = HashMemo(file, refuse_truncated=options.truncated == "quarantine")
    manifest = scan(root, options, memo)
    depth, said = decide_depth(manifest.images, memo, options)
    manifest = replace(manifest, depth=depth, notices=(*said, *manifest.notices))
    memo.save()
    return manifest, memo


def scan(root: Path, options: DataOptions, memo: HashMemo) -> Manifest:
    """The manifest of the image folder at `root`."""
    folder = read_image_folder(root)
    classes = tuple(printable(name) for name in folder.classes)
    try:
        hashes = memo.sha256([path for _, _, path in folder.files], options.workers or os.cpu_count() or 1)
    except OSError as error:
        raise unreadable(error) from None
    images = [
        ImageRecord(path, name_below(path, root), sha256, label, split)
        for (split, label, path), sha256 in zip(folder.files, hashes, strict=True)
    ]
    images, strangers = group_images(images, options.groups)  # first: a table may name what is left out
    images, left_out = exclude(images, classes, root, options.exclude)
    images, cut = cut_missing_splits(images, folder.splits, classes, options)
    images.sort(key=lambda i: (SPLITS.index(i.split), i.label, i.name))
    grouped = [*strangers, *groups_said(images, options.groups), *straddling_said(images, options.folds)]
    if options.folds is not None:
        pool = [i for i in images if i.split in options.training_splits]
        cut += require_folds(pool, classes, options.folds)
    notices = (*left_out, *grouped, *cut, *folder.notices())
    return Manifest(root.name or "data", root, classes, tuple(images), notices, folder.ignored)
