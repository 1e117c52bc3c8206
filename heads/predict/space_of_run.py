"""The training images of a run in feature space: from the cache, and for a fine-tuned network through it, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.backbones import Backbone
from featcache.counted_nouns import counted
from featcache.data import locate
from featcache.errors import FeatcacheError, StoreError
from featcache.extraction import fill_store
from featcache.options import Options
from featcache.records import ImageRecord, Manifest
from featcache.session import Session
from featcache.store import FeatureStore
from heads.predict.training_space import TrainingSpace
from heads.runs import Run, RunModel, images_of, load_run_model, manifest_of

log = logging.getLogger("featcache")

MOST = {"train": 20_000, "val": 5_000}  # images that are compared with
MOST_TUNED = {"train": 2_000, "val": 500}  # that may have to go through a fine-tuned network first


@dataclass(frozen=True, eq=False)
class TunedNetwork:
    """A fine-tuned backbone, the options of its run, and the cache that has the store of its rows."""

    backbone: Backbone
    options: Options
    cache: Path


def space_of_run(
    run: Run,
    model: RunModel,
    stores: Sequence[FeatureStore | None],
    tuned: Sequence[TunedNetwork],
    cache: Path,
    session: Session,
) -> TrainingSpace | None:
    """The space; None, having said why, where the features of its images cannot be had.

    `stores` are those of the run's backbones; `tuned` are the fine-tuned ones, whose rows are extracted into their
    stores where they are missing. Of very many images a seeded sample is compared with.
    """
    try:
        manifest = manifest_of(run, cache)
        folds = model.options.data.folds
        pools = [_some(images_of(manifest, split, folds), (MOST_TUNED if tuned else MOST)[split]) for split in MOST]
        for one in tuned:
            needed = replace(manifest, images=tuple({i.sha256: i for i in (*pools[0], *pools[1])}.values()))
            located = locate(needed, one.options.data, one.cache)
            at = one.options.cache.model_copy(update={"dir": str(one.cache)})
            fill_store(one.backbone, one.options.model_copy(update={"cache": at}), located, session)
        features = [_read(stores, pool) for pool in pools]
    except FeatcacheError as error:
        log.warning("images unlike the training ones are not flagged: their features are not at hand (%s)", error)
        return None
    train, val = pools
    if not train or not val:
        return None
    return TrainingSpace.of(
        features[0],
        np.array([i.label for i in train], np.int64),
        (tuple(i.name for i in train), tuple(i.sha256 for i in train)),
        features[1],
        tuple(i.sha256 for i in val),
        session.device,
    )


def training_images(run: Run, space: TrainingSpace, cache: Path) -> Manifest:
    """What the run was trained on, of its images those of its space, in that order, each with the place where it is
    now. Raises StoreError where the cache has no store that knows them."""
    manifest = manifest_of(run, cache)
    by_name = {i.name: i for i in manifest.images}
    chosen = replace(manifest, images=tuple(by_name[name] for name in space.names))
    return locate(chosen, load_run_model(run.folder).options.data, cache)


def _some(images: tuple[ImageRecord, ...], most: int) -> tuple[ImageRecord, ...]:
    if len(images) <= most:
        return images
    log.info("%s stand for %s in telling what is like them", f"{most:,}", counted(len(images), "image"))
    chosen = np.sort(np.random.default_rng(0).choice(len(images), most, replace=False))
    return tuple(images[i] for i in chosen)


def _read(stores: Sequence[FeatureStore | None], images: tuple[ImageRecord, ...]) -> NDArray[np.float32]:
    there = [store for store in stores if store is not None]
    if len(there) < len(stores):
        raise StoreError("the cache has no store of one of the backbones; --cache-dir names a cache that moved")
    parts = [store.read([i.sha256 for i in images]) for store in there]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
