"""Stage one for one backbone: every image goes once through it, and its features into the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featcache.backbones import Backbone, describe_backbone, load_parts, resolve_dims
from featcache.counted_nouns import counted
from featcache.data import Scratch, list_repaired, load_manifest, look_for_truncated, quarantine
from featcache.devices import require_precision
from featcache.errors import OptionsError
from featcache.extraction.measured_profile import (
    ProfileKey,
    known_profile,
    measure_profile,
    profile_key,
    warn_if_busy,
)
from featcache.extraction.row_extraction import extract_rows
from featcache.extraction.spread_rows import extract_spread
from featcache.extraction.store_fill import StoreFill
from featcache.options import Options, as_options, require_class_names
from featcache.records import SILENT, BackboneInfo, BadImage, Manifest, Profile, Progress
from featcache.session import Session
from featcache.store import FeatureStore, open_store, why_new

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class Extraction:
    """What stage one has at hand for one options file, all of it committed."""

    info: BackboneInfo
    manifest: Manifest  # of the images that can be read
    store: FeatureStore
    spec: str | None  # the store's name for the augmented views, if there are any
    views: int  # of each training image, the plain one included
    dims: tuple[int, ...]  # the head's widths
    reused: int  # distinct images that were there already
    new: int  # distinct images extracted now
    bad: tuple[BadImage, ...]
    profile: Profile


def extract(
    options: Options | Mapping[str, Any] | str | Path,
    *,
    device: str | None = None,
    allow_custom: bool = False,
    progress: Progress = SILENT,
    scratch: Scratch | None = None,
) -> Extraction:
    """Fill the store with the features that `options` needs, measure the model, and say what was new.

    Accepts an Options, a plain dict or the path of an options file. Several calls that share a `scratch` decode each
    image once. Raises InputError (OptionsError, DataError, WeightsError, ..) before any work when the options cannot be
    followed, DataError when more than `data.max_bad_fraction` of the files is unreadable, NonFiniteError when features
    are, DiskFullError where there is no room.
    """
    session = Session.begin(device, allow_custom=allow_custom, progress=progress, scratch=scratch)
    return extract_backbone(as_options(options), session)


def extract_backbone(options: Options, session: Session) -> Extraction:
    """`extract` within a session."""
    if len(options.model.names) > 1:
        raise OptionsError(
            f"model.backbone: {options.model.backbone!r} names several. Extract them one by one (`options.parts`), or "
            "use featcache.extraction.extract_all."
        )
    require_precisions(options, session.device)
    manifest, memo = load_manifest(options.data, options.cache.folder)
    for notice in manifest.notices:
        log.info("%s: %s", manifest.name, notice)
    require_class_names(options.training.class_weights, manifest.classes)
    info, backbone = describe_backbone(options, allow_custom=session.allow_custom)
    info, backbone = info.at_depth(manifest.depth), backbone and backbone.at_depth(manifest.depth)
    name = info.identity.backbone
    if info.origin.fell_back:
        session.random_weights_stand_in(name)
    dims = resolve_dims(options.model.classifier_dims, name, info.features, len(manifest.classes))
    store = open_store(options.cache, info)
    fill = StoreFill(options, manifest, memo, store)
    key = profile_key(fill, dims, session.device)
    store.hold()
    look_for_truncated(manifest, memo, options.data, store.rows())
    new = 0
    if fill.missing():
        new, backbone = _extract_and_measure(fill, dims, key, backbone, session)
    if store.rows() and known_profile(fill, key) is None:
        measured = measure_profile(fill, dims, backbone or _load(fill, session), session.device)
        store.save_profiles(key.entries(measured))
    readable, bad = quarantine(manifest, memo, options.data, options.cache.folder)
    list_repaired(readable, memo, options.cache.folder)
    store.save_dataset(readable)
    profile = known_profile(fill, key)
    assert profile is not None  # measured above, where it was not there
    warn_if_busy(profile, name)
    reused = len({i.sha256 for i in readable.images}) - new
    log.info("%s: %s reused, %d new, %d bad", info.identity.stem, counted(reused, "row"), new, len(bad))
    return Extraction(info, readable, store, fill.spec, options.data.view_count, dims, reused, new, bad, profile)


def require_precisions(options: Options, device: torch.device) -> None:
    """Raise OptionsError for a precision of training or of the profile that the device does not have."""
    require_precision(options.training.precision, device)
    for precision in options.profile.precisions:
        require_precision(precision, device, "profile.precisions")


def fill_store(backbone: Backbone, options: Options, manifest: Manifest, session: Session) -> FeatureStore:
    """Fill the store of a backbone that is built already with the rows of `manifest`; nothing is measured.

    Raises what `extract` does once it has begun.
    """
    _, memo = load_manifest(options.data, options.cache.folder)
    fill = StoreFill(options, manifest, memo, open_store(options.cache, backbone.info))
    fill.store.hold()
    if fill.missing():
        with fill.store.writing(log.warning) as writer:
            if tasks := fill.missing():
                extract_rows(fill, tasks, backbone, writer, session)
    return fill.store


def _load(fill: StoreFill, session: Session) -> Backbone:
    (backbone,) = load_parts(fill.options, allow_custom=session.allow_custom)
    return backbone.at_depth(fill.manifest.depth)


def _extract_and_measure(
    fill: StoreFill, dims: tuple[int, ...], key: ProfileKey, backbone: Backbone | None, session: Session
) -> tuple[int, Backbone | None]:
    """Commit the rows and the profile that the store lacks; returns how many images were extracted, and the backbone
    where it is still as `load_model` gives it."""
    store, identity = fill.store, fill.store.info.identity
    if not store.begun() and (reason := why_new(store.path.parent, identity)) is not None:
        log.info("%s: extracted anew: %s", identity.stem, reason)
    with store.writing(log.warning) as writer:
        tasks = fill.missing()
        if not tasks:  # another process has just filled them
            return 0, backbone
        if known_profile(fill, key) is None:  # first, while the network is as `load_model` gives it
            backbone = backbone or _load(fill, session)
            writer.profiles |= key.entries(measure_profile(fill, dims, backbone, session.device))
        if session.workers is not None:
            return extract_spread(fill, tasks, writer, session), None
        return extract_rows(fill, tasks, backbone or _load(fill, session), writer, session), None
