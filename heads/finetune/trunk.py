"""What the frozen blocks give is computed once for each image and view, and kept: the epochs run what trains alone."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.backbones import Backbone, Block
from featcache.backbones.splitting import Split, split
from featcache.data.decoding import Decoder, Task
from featcache.errors import WorkError
from featcache.extraction import BLOCK_IMAGES, Extraction, extract_with
from featcache.inference import Inference
from featcache.options import Options
from featcache.records import SILENT, ImageRecord, Progress
from featcache.store import FeatureStore
from heads.features import Indices
from heads.finetune.sources import KeptInMemory, KeptInStore, Source

log = logging.getLogger("featcache")


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of a training: labels `[N]`, how many views each has, which ones train, which choose the epoch."""

    images: tuple[ImageRecord, ...]
    labels: Indices
    views: Indices
    train: Indices
    val: Indices

    @property
    def first(self) -> Indices:
        """The row of each image's plain view, where the views of each image follow each other."""
        return np.cumsum(self.views) - self.views

    @property
    def rows(self) -> int:
        """Views of all images."""
        return int(self.views.sum())


def make_pool(extraction: Extraction) -> Pool:
    """Train and val of an extraction; training images have views."""
    train, val = extraction.manifest.of("train"), extraction.manifest.of("val")
    images = (*train, *val)
    views = np.ones(len(images), np.int64)
    views[: len(train)] = extraction.views
    every = np.arange(len(images))
    labels = np.array([i.label for i in images], np.int64)
    return Pool(images, labels, views, every[: len(train)], every[len(train) :])


def pooled_source(extraction: Extraction, pool: Pool, limit_bytes: float, device: torch.device) -> Source:
    """The cached features of a pool."""
    store, width = extraction.store, extraction.info.features
    if pool.rows * width * 4 > limit_bytes:
        return KeptInStore(store, extraction.spec, pool.images, device)
    values = np.empty((pool.rows, width), np.float32)
    values[pool.first] = store.read([i.sha256 for i in pool.images])
    several = np.flatnonzero(pool.views > 1)
    if len(several):
        augmented = store.read([pool.images[i].sha256 for i in several], extraction.spec)
        for view in range(1, extraction.views):
            values[pool.first[several] + view] = augmented[:, view - 1]
    return KeptInMemory(values, pool.first, device)


def keep_trunk(
    backbone: Backbone,
    every: Sequence[Block],
    first: int,
    extraction: Extraction,
    pool: Pool,
    options: Options,
    device: torch.device,
    progress: Progress = SILENT,
    make_decoder: Callable[[], Decoder] | None = None,
) -> tuple[Source, nn.Module, str] | None:
    """What lies before block `first` for every view of a pool, the module that goes on from there, and where it is
    kept; None, having said why, where the network cannot be cut there or `cache.max_trunk_gb` is too little."""
    name, cache = backbone.info.identity.backbone, options.cache
    layout = torch.channels_last if options.training.channels_last else torch.contiguous_format
    found = split(backbone, every, first, layout)
    if found is None:
        log.info("%s: cannot be cut before %s: its epochs run the whole network", name, every[first].name)
        return None
    size = pool.rows * found.width * 4
    if size > cache.max_trunk_gb * 1e9:
        log.info(
            "%s: what comes before %s would take %.1f GB, more than cache.max_trunk_gb (%g): its epochs run the whole "
            "network",
            name,
            every[first].name,
            size / 1e9,
            cache.max_trunk_gb,
        )
        return None
    front = _front(backbone, found, every[first].name)
    if size <= cache.max_features_gb * 1e9:
        values = _in_memory(front, pool, options, device, progress, make_decoder)
        return (
            KeptInMemory(values, pool.first, device),
            found.rest,
            f"what comes before them, {size / 1e6:.0f} MB in memory",
        )
    store = _in_store(front, extraction, options, device, progress)
    source = KeptInStore(store, extraction.spec, pool.images, device)
    return source, found.rest, f"what comes before them, {size / 1e9:.1f} GB in {store.path}"


def _front(backbone: Backbone, found: Split, block: str) -> Backbone:
    """The frozen part as a backbone of its own, whose features are what comes out before `block`."""
    identity = replace(backbone.info.identity, tap=f"input of {block}", dtype="float32")
    info = replace(backbone.info, identity=identity, features=found.width)
    # A copy: extraction rearranges the weights, and the network itself is about to train.
    return Backbone(copy.deepcopy(found.front), info)


def _in_memory(
    front: Backbone,
    pool: Pool,
    options: Options,
    device: torch.device,
    progress: Progress,
    make_decoder: Callable[[], Decoder] | None,
) -> NDArray[np.float32]:
    infer = Inference(front, device, options.cache.batch_size)
    decoder = (
        make_decoder()
        if make_decoder
        else Decoder(front.preprocessing, options.data.augmentations, options.data.workers)
    )
    tasks = [
        Task(image.sha256, image.path, tuple(range(views)))
        for image, views in zip(pool.images, pool.views.tolist(), strict=True)
    ]
    values = np.empty((pool.rows, front.features), np.float32)
    row = 0
    progress.begin(f"{front.info.identity.backbone} trunk", len(tasks), "img")
    for block in decoder.blocks(
        tasks, max(BLOCK_IMAGES, infer.batch_size), infer.batch_size, ahead=device.type != "cpu"
    ):
        images: list[Tensor] = []
        for one in block:
            if one.images is None:
                raise WorkError(f"{one.task.path}: cannot be read any more ({one.error}). Run again.")
            images += one.images
        values[row : row + len(images)] = infer(torch.stack(images)).numpy()
        row += len(images)
        progress.advance(len(block))
    progress.end(f"{len(tasks)} images, {values.nbytes / 1e6:.0f} MB kept")
    return values


def _in_store(
    front: Backbone, extraction: Extraction, options: Options, device: torch.device, progress: Progress
) -> FeatureStore:
    manifest = extraction.manifest
    needed = replace(manifest, images=(*manifest.of("train"), *manifest.of("val")))
    return extract_with(front, options, needed, device=device, progress=progress)
