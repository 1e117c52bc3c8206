"""Images beside a data set, such as those without labels: their rows in the same store, views and all."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from featcache.backbones import Backbone, load_parts
from featcache.data import load_manifest, readable
from featcache.extraction.row_extraction import extract_rows
from featcache.extraction.side_by_side import CachedFeatures
from featcache.extraction.store_fill import StoreFill
from featcache.options import Options
from featcache.records import ImageRecord
from featcache.session import Session
from featcache.store import FeatureStore

log = logging.getLogger("featcache")


def extract_more(
    cached: CachedFeatures,
    options: Options,
    images: Sequence[ImageRecord],
    session: Session,
    backbone: Backbone | None = None,
) -> tuple[ImageRecord, ...]:
    """Fill the stores of an extraction by `options` with the rows of further `images` of the split train, and give back
    those that can be read. A `backbone` is the one whose store it is, where that is not the one of the options."""
    for part, own in zip(cached.parts, options.parts, strict=True):
        images = _fill(part.store, own, images, session, backbone)
    return tuple(images)


def _fill(
    store: FeatureStore, options: Options, images: Sequence[ImageRecord], session: Session, backbone: Backbone | None
) -> tuple[ImageRecord, ...]:
    manifest, memo = load_manifest(options.data, options.cache.folder)
    wanted = replace(manifest, images=tuple(images))
    fill = StoreFill(options, wanted, memo, store)
    if fill.missing():
        with store.writing(log.warning) as writer:
            if tasks := fill.missing():
                extract_rows(fill, tasks, backbone or _backbone(options, fill, session), writer, session)
    return readable(wanted, memo).images


def _backbone(options: Options, fill: StoreFill, session: Session) -> Backbone:
    (found,) = load_parts(options, allow_custom=session.allow_custom)
    return found.at_depth(fill.manifest.depth)
