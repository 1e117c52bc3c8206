"""What the frozen blocks give is computed once for each image and view, and kept: the epochs run what trains alone."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.backbones import Backbone
from featcache.backbones.splitting import Split, split
from featcache.data.decoding import Task
from featcache.errors import WorkError
from featcache.extraction import BLOCK_IMAGES, Extraction, extract_with
from featcache.inference import Inference
from heads.finetune.job import Job
from heads.finetune.pool import Pool
from heads.finetune.sources import KeptInMemory, KeptInStore, Source

log = logging.getLogger("featcache")


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


def keep_trunk(backbone: Backbone, first: int, job: Job) -> tuple[Source, nn.Module, str] | None:
    """What lies before block `first` for every view of the job's images, the module that goes on from there, and where
    it is kept; None, having said why, where the network cannot be cut there or `cache.max_trunk_gb` is too little."""
    block, cache, pool = job.blocks[first].name, job.options.cache, job.pool
    layout = torch.channels_last if job.training.channels_last else torch.contiguous_format
    found = split(backbone, job.blocks, first, layout)
    if found is None:
        log.info("%s: its epochs run the whole network while blocks before %s are frozen", job.backbone, block)
        return None
    size = pool.rows * found.width * 4
    if size > cache.max_trunk_gb * 1e9:
        log.info(
            "%s: what comes before %s would take %.1f GB, more than cache.max_trunk_gb (%g): its epochs run the whole "
            "network",
            job.backbone,
            block,
            size / 1e9,
            cache.max_trunk_gb,
        )
        return None
    front = _front(backbone, found, block)
    if size <= cache.max_features_gb * 1e9 / job.processes.count:  # each process keeps its own
        values = _in_memory(front, job)
        where = f"what comes before them, {size / 1e6:.0f} MB in memory"
        return KeptInMemory(values, pool.first, job.device), found.rest, where
    manifest = job.extraction.manifest
    needed = replace(manifest, images=(*manifest.of("train"), *manifest.of("val")))
    store = extract_with(front, job.options, needed, device=job.device, progress=job.progress)
    source = KeptInStore(store, job.extraction.spec, pool.images, job.device)
    return source, found.rest, f"what comes before them, {size / 1e9:.1f} GB in {store.path}"


def _front(backbone: Backbone, found: Split, block: str) -> Backbone:
    """The frozen part as a backbone of its own, whose features are what comes out before `block`."""
    identity = replace(backbone.info.identity, tap=f"input of {block}", dtype="float32")
    info = replace(backbone.info, identity=identity, features=found.width)
    # A copy: extraction rearranges the weights, and the network itself is about to train.
    return Backbone(copy.deepcopy(found.front), info)


def _in_memory(front: Backbone, job: Job) -> NDArray[np.float32]:
    pool = job.pool
    infer = Inference(front, job.device, job.options.cache.batch_size)
    decoder = job.decoder()
    tasks = [
        Task(image.sha256, image.path, tuple(range(views)))
        for image, views in zip(pool.images, pool.views.tolist(), strict=True)
    ]
    values = np.empty((pool.rows, front.features), np.float32)
    row = 0
    job.progress.begin(f"{front.info.identity.backbone} trunk", len(tasks), "img")
    for block in decoder.blocks(
        tasks, max(BLOCK_IMAGES, infer.batch_size), infer.batch_size, ahead=job.device.type != "cpu"
    ):
        images: list[Tensor] = []
        for one in block:
            if one.images is None:
                raise WorkError(f"{one.task.path}: cannot be read any more ({one.error}). Run again.")
            images += one.images
        values[row : row + len(images)] = infer(torch.stack(images)).numpy()
        row += len(images)
        job.progress.advance(len(block))
    job.progress.end(f"{len(tasks)} images, {values.nbytes / 1e6:.0f} MB kept")
    return values
