"""The output of the frozen trunk, computed once for each image and view and kept, so that epochs run the rest alone."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.backbones import Backbone, Split, split
from featcache.counted_nouns import counted
from featcache.data import Task
from featcache.errors import WorkError
from featcache.extraction import Extraction, Inference, decoded_blocks, fill_store
from featcache.places import said
from heads.finetune.batch_inputs import InputSource, KeptInMemory, KeptInStore
from heads.finetune.run_setup import RunSetup
from heads.finetune.training_images import TrainingImages

log = logging.getLogger("featcache")


def pooled_source(
    extraction: Extraction, dataset: TrainingImages, limit_bytes: float, device: torch.device
) -> InputSource:
    """The cached features of a pool."""
    store, width = extraction.store, extraction.info.features
    if dataset.rows * width * 4 > limit_bytes:
        return KeptInStore(store, extraction.spec, dataset.images, device)
    values = np.empty((dataset.rows, width), np.float32)
    values[dataset.first] = store.read([i.sha256 for i in dataset.images])
    several = np.flatnonzero(dataset.views > 1)
    if len(several):
        augmented = store.read([dataset.images[i].sha256 for i in several], extraction.spec)
        for view in range(1, extraction.views):
            values[dataset.first[several] + view] = augmented[:, view - 1]
    return KeptInMemory(values, dataset.first, device)


def keep_trunk(backbone: Backbone, first: int, setup: RunSetup) -> tuple[InputSource, nn.Module, str] | None:
    """What lies before block `first` for every view of the job's images, the module that goes on from there, and where
    it is kept; None, having said why, where the network cannot be cut there or `cache.max_trunk_gb` is too little."""
    block, cache, dataset = setup.blocks[first].name, setup.options.cache, setup.dataset
    layout = torch.channels_last if setup.training.channels_last else torch.contiguous_format
    found = split(backbone, setup.blocks, first, layout)
    if found is None:
        log.info("%s: its epochs run the whole network while blocks before %s are frozen", setup.backbone, block)
        return None
    size = dataset.rows * found.width * 4
    if size > cache.max_trunk_gb * 1e9:
        log.info(
            "%s: what comes before %s would take %.1f GB, more than cache.max_trunk_gb (%g): its epochs run the whole "
            "network",
            setup.backbone,
            block,
            size / 1e9,
            cache.max_trunk_gb,
        )
        return None
    front = _front(backbone, found, block)
    if size <= cache.max_features_gb * 1e9 / setup.processes.count:  # each process keeps its own
        setup.kept.make_room(size)
        values = _in_memory(front, setup)
        where = f"what comes before them, {size / 1e6:.0f} MB in memory"
        return KeptInMemory(values, dataset.first, setup.device), found.rest, where
    needed = replace(setup.extraction.manifest, images=dataset.images)
    store = fill_store(front, setup.options, needed, setup.session)
    source = KeptInStore(store, setup.extraction.spec, dataset.images, setup.device)
    return source, found.rest, f"what comes before them, {size / 1e9:.1f} GB in {store.where}"


def _front(backbone: Backbone, found: Split, block: str) -> Backbone:
    """The frozen part as a backbone of its own, whose features are what comes out before `block`."""
    identity = replace(backbone.info.identity, tap=f"input of {block}", dtype="float32")
    info = replace(backbone.info, identity=identity, features=found.width)
    # A copy: extraction rearranges the weights, and the network itself is about to train.
    return Backbone(copy.deepcopy(found.front), info)


def _in_memory(front: Backbone, setup: RunSetup) -> NDArray[np.float32]:
    dataset = setup.dataset
    infer = Inference(front, setup.device, setup.options.cache.images_a_pass)
    decoder = setup.decoder()
    tasks = [
        Task(image.sha256, image.place, tuple(range(views)))
        for image, views in zip(dataset.images, dataset.views.tolist(), strict=True)
    ]
    values = np.empty((dataset.rows, front.features), np.float32)
    row = 0
    setup.progress.begin(f"{front.info.identity.backbone} trunk", len(tasks), "img")
    for block in decoded_blocks(decoder, tasks, infer):
        images: list[Tensor] = []
        for one in block:
            if one.images is None:
                raise WorkError(f"{said(one.task.place)}: cannot be read any more ({one.error}). Run again.")
            images += one.images
        values[row : row + len(images)] = infer(torch.stack(images)).numpy()
        row += len(images)
        setup.progress.advance(len(block))
    setup.progress.end(f"{counted(len(tasks), 'image')}, {values.nbytes / 1e6:.0f} MB kept")
    return values
