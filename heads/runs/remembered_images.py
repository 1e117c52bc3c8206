"""The images that a run was trained on, as a store of its features remembers them."""

from __future__ import annotations

from pathlib import Path

from featcache.errors import StoreError
from featcache.records import ImageRecord, Manifest
from featcache.store import store_at
from heads.runs.run import Run


def manifest_of(run: Run, cache: Path) -> Manifest:
    """The manifest of the run's data set; raises StoreError where no store in `cache` knows it."""
    path = str(run.summary["data"]["path"])
    for name in run.summary["stores"]:
        try:
            return store_at(cache / name).dataset(run.summary["inputs"]["data"], path)
        except StoreError:
            continue
    raise StoreError(f"no store in {cache} knows the images of {run.folder.name}; --cache-dir names a cache that moved")


def images_of(manifest: Manifest, split: str, folds: int | None) -> tuple[ImageRecord, ...]:
    """The images of a split, equal contents once; with folds those of train and val together, which take turns."""
    pool = (i for i in manifest.images if i.split == split or (folds and i.split in ("train", "val")))
    return tuple({i.sha256: i for i in pool}.values())
