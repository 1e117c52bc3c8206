"""What a config would compute, how long and how much disk. It trains and stores nothing; a few images are timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from featcache.backbones import (
    Backbone,
    describe,
    find_source,
    first_trained_by_step,
    list_blocks,
    make_backbone,
    names_file,
    resolve_dims,
)
from featcache.data import Decoder, Task, load_manifest
from featcache.extraction.inference import Inference
from featcache.options import Options, as_options, require_class_names
from featcache.records import SPLITS, Manifest
from featcache.session import Session

TIMED_PASSES = 3
LONG_PASS = 2.0  # seconds
TIMED_FILES = 32


@dataclass(frozen=True)
class CostEstimate:
    """What one config asks for."""

    name: str
    backbone: str
    weights: str
    features: int
    dims: tuple[int, ...]
    classes: tuple[str, ...]
    images: dict[str, int]  # by split
    passes: int  # forward passes of a full extraction: each distinct image once, and its views
    seconds: float  # to decode the images with every worker, and to run them through the backbone
    disk_bytes: int  # of the rows, as float16 and as float32 the double
    views: int  # of each training image, the plain one counted
    view_passes: int  # what of the passes, the time and the disk the augmented views cost
    view_seconds: float
    view_disk_bytes: int
    notices: tuple[str, ...]


def check(
    options: Options | Mapping[str, Any] | str | Path, *, device: str | None = None, allow_custom: bool = False
) -> list[CostEstimate]:
    """Validate `options` against the data and each backbone that they name, and say what a run from an empty cache
    would take of each; of several the head is the one on all their features.

    Accepts an Options, a plain dict or the path of an options file. Nothing is downloaded: the network is built with
    random weights, which cost the same. Raises what a run would.
    """
    return estimate_costs(as_options(options), Session.begin(device, allow_custom=allow_custom))


def estimate_costs(options: Options, session: Session) -> list[CostEstimate]:
    """`check` within a session."""
    estimates = [_estimate(part, session) for part in options.parts]
    features = sum(one.features for one in estimates)
    model = options.model
    if options.training.unfreeze_schedule is not None:
        names = list_blocks(model, allow_custom=session.allow_custom)
        first_trained_by_step(options.training.unfreeze_schedule, names, model.backbone)
    dims = resolve_dims(model.classifier_dims, model.backbone, features, len(estimates[0].classes))
    return [replace(one, dims=dims) for one in estimates]


def _estimate(options: Options, session: Session) -> CostEstimate:
    """What the run of one backbone would take."""
    allow_custom, place = session.allow_custom, session.device
    manifest, _ = load_manifest(options.data, options.cache.dir)
    require_class_names(options.training.class_weights, manifest.classes)
    source = find_source(options.model.backbone, options.model.source, allow_custom)
    weights = describe(options.model, source, options.model.backbone)
    model = options.model
    if model.weights is None or not names_file(model.weights):  # a local file is loaded, to see that it fits
        model = model.model_copy(update={"pretrained": False, "weights": None})
    precision, dtype = options.training.precision, options.cache.dtype
    backbone = make_backbone(model, precision, dtype, allow_custom=allow_custom, settled=False)
    backbone = backbone.at_depth(manifest.depth).to(place)
    dims = resolve_dims(options.model.classifier_dims, options.model.backbone, backbone.features, len(manifest.classes))
    distinct = {i.sha256 for i in manifest.images}
    training = {i.sha256 for i in manifest.images if i.split in options.data.training_splits}
    view_passes = len(training) * (options.data.view_count - 1)
    passes = len(distinct) + view_passes
    pass_seconds = _seconds_per_image(backbone, manifest, options, place)
    return CostEstimate(
        name=options.experiment_name,
        backbone=options.model.backbone,
        weights=weights,
        features=backbone.features,
        dims=dims,
        classes=manifest.classes,
        images={s: len(manifest.of(s)) for s in SPLITS},
        passes=passes,
        seconds=passes * pass_seconds,
        disk_bytes=passes * backbone.features * 2,
        views=options.data.view_count,
        view_passes=view_passes,
        view_seconds=view_passes * pass_seconds,
        view_disk_bytes=view_passes * backbone.features * 2,
        notices=manifest.notices,
    )


def _seconds_per_image(backbone: Backbone, manifest: Manifest, options: Options, device: torch.device) -> float:
    """One image decoded and run through the backbone, timed on a few as the extraction does it."""
    infer = Inference(backbone, device, options.cache.images_a_pass)
    side = backbone.preprocessing.input_size
    images = torch.full((infer.batch_size, 3, side, side), 128, dtype=torch.uint8)
    infer(images)
    passes = 1
    if infer.seconds < LONG_PASS:  # else that is the estimate: what a first pass allocates is little of it
        infer.seconds, passes = 0.0, TIMED_PASSES
        for _ in range(passes):
            infer(images)
    decoder = Decoder(backbone.preprocessing, options.data.augmentations, options.data.workers)
    last = options.data.view_count - 1  # an augmented view, where there are any: they take longer
    some = manifest.images[:: max(1, len(manifest.images) // TIMED_FILES)][:TIMED_FILES]
    tasks = [Task(i.sha256, i.place, (last,)) for i in some]
    for _ in decoder.blocks(tasks, len(tasks), 1, ahead=False):
        pass
    return infer.seconds / (passes * len(images)) + decoder.seconds / len(tasks)
