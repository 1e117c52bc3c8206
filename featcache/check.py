"""What a config would compute, how long and how much disk. It trains and stores nothing; one image is timed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from featcache.backbones import Backbone, find_source, load_backbone, resolve_dims
from featcache.backbones.weights import describe
from featcache.data import load_manifest
from featcache.extraction import pick_device
from featcache.options import Options, require_frozen
from featcache.records import SPLITS

TIMED_PASSES = 3


@dataclass(frozen=True)
class Plan:
    """What one config asks for."""

    name: str
    backbone: str
    weights: str
    features: int
    dims: tuple[int, ...]
    classes: tuple[str, ...]
    images: dict[str, int]  # by split
    passes: int  # forward passes of a full extraction: each distinct image once, and its views
    extraction_seconds: float
    disk_bytes: int  # of the rows, as float16 and as float32 the double
    notices: tuple[str, ...]


def check(options: Options, *, device: str | None = None, allow_custom: bool = False) -> Plan:
    """Validate `options` against the data and the backbone, and say what a run from an empty cache would take.

    Nothing is downloaded: the network is built with random weights, which cost the same. Raises what a run would.
    """
    require_frozen(options)
    place = pick_device(device)
    manifest, _ = load_manifest(options.data, options.cache.dir)
    source = find_source(options.model.backbone, options.model.source, allow_custom)
    weights = describe(options.model, source, options.model.backbone)
    model = options.model
    if not Path(weights).is_file():  # a local file is loaded, to see that it fits
        model = model.model_copy(update={"pretrained": False, "weights": None})
    backbone = load_backbone(model, precision=options.training.precision, device=place, allow_custom=allow_custom)
    dims = resolve_dims(options.model.classifier_dims, options.model.backbone, backbone.features, len(manifest.classes))
    distinct = {i.sha256 for i in manifest.images}
    training = {i.sha256 for i in manifest.of("train")}
    passes = len(distinct) + len(training) * (options.data.view_count - 1)
    return Plan(
        name=options.experiment_name,
        backbone=options.model.backbone,
        weights=weights,
        features=backbone.features,
        dims=dims,
        classes=manifest.classes,
        images={s: len(manifest.of(s)) for s in SPLITS},
        passes=passes,
        extraction_seconds=passes * _seconds_per_image(backbone, options, place),
        disk_bytes=passes * backbone.features * 2,
        notices=manifest.notices,
    )


def _seconds_per_image(backbone: Backbone, options: Options, device: torch.device) -> float:
    side = backbone.preprocessing.input_size
    batch = min(8, options.cache.batch_size)
    images = torch.rand(batch, 3, side, side, device=device)
    times = []
    with torch.inference_mode():
        for _ in range(TIMED_PASSES):
            begin = time.perf_counter()
            backbone(images).sum().item()  # reading the value waits for the device
            times.append(time.perf_counter() - begin)
    return min(times) / batch
