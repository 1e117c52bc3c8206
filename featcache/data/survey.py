"""A data set to look at, whether or not it can be trained on: what is there, and why it would be refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from featcache.data.class_names import name_classes
from featcache.data.content_hashes import HashMemo
from featcache.data.manifest import complete, list_with_memo, records, scan
from featcache.data.sources import Listing, composed
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, Manifest


@dataclass(frozen=True)
class Survey:
    """A data set, and what training would say of it."""

    manifest: Manifest
    refused: str = ""  # why it cannot be trained on; "" where it can
    unsplit: frozenset[str] = frozenset()  # names of images that are in no split, whatever the manifest says


def survey(options: DataOptions, cache_dir: str | Path) -> Survey:
    """The manifest that training has, or, where it is refused, that of all images as they lie there.

    Raises DataError where the source cannot be read at all.
    """
    listing, memo = list_with_memo(options, Path(cache_dir))
    try:
        found = Survey(scan(listing, options, memo))
    except DataError as refusal:
        found = _as_it_lies(listing, options, memo, str(refusal))
    return replace(found, manifest=complete(found.manifest, memo, options))


def _as_it_lies(listing: Listing, options: DataOptions, memo: HashMemo, refused: str) -> Survey:
    """Every image under the class and split that the source gives it; of classes those that are picked, if they are
    known."""
    try:
        named = name_classes(listing, options.classes)
        listing, notices = named.listing, named.notices
    except DataError:
        listing, notices = replace(listing, rows=[r._replace(label=composed(r.label)) for r in listing.rows]), ()
    classes = tuple(sorted({row.label for row in listing.rows}))
    images = records(listing, [row.split or "train" for row in listing.rows], classes, memo, options)
    images.sort(key=lambda i: (SPLITS.index(i.split), i.label, i.name))
    said = (*notices, *listing.notices)
    manifest = Manifest(listing.name, listing.root, classes, tuple(images), said, listing.ignored)
    return Survey(manifest, refused, frozenset(row.name for row in listing.rows if row.split is None))
