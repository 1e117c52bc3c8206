"""What a config would compute, how long and how much disk. It trains and stores nothing; some of each part is timed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from featcache.data import Decoder, load_manifest
from featcache.extraction.extraction_time import ExtractionTime, time_extraction
from featcache.extraction.one_backbone import require_precisions
from featcache.options import Options, as_options, require_class_names
from featcache.records import SPLITS
from featcache.session import Session


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
    time: ExtractionTime  # of stage one, from an empty cache
    disk_bytes: int  # of the rows, as float16 and as float32 the double
    views: int  # of each training image, the plain one counted
    view_passes: int  # what of the passes, the time and the disk the augmented views cost
    view_seconds: float
    view_disk_bytes: int
    decoded_as: str  # configs with the same share what is decoded, within one command
    notices: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of stage one, from an empty cache."""
        return self.time.total


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
    require_precisions(options, session.device)
    estimates = [_estimate(part, session) for part in options.parts]
    features = sum(one.features for one in estimates)
    model = options.model
    if options.training.unfreeze_schedule is not None:
        names = list_blocks(model, allow_custom=session.allow_custom)
        first_trained_by_step(options.training.unfreeze_schedule, names, model.backbone)
    dims = resolve_dims(model.classifier_dims, model.backbone, features, len(estimates[0].classes))
    return [replace(one, dims=dims) for one in estimates]


def untrained_backbone(options: Options, session: Session) -> Backbone:
    """The backbone of `options` on the CPU, with random weights unless a local file is named, which is loaded to see
    that it fits: nothing is downloaded, and it costs the same to run. Random weights are settled, which takes deep
    networks a while, where the run's own are random."""
    model = options.model
    if model.weights is None or not names_file(model.weights):
        model = model.model_copy(update={"pretrained": False, "weights": None})
    settled = options.model.pretrained is False
    precision, dtype = options.training.precision, options.cache.dtype
    return make_backbone(model, precision, dtype, allow_custom=session.allow_custom, settled=settled)


def _estimate(options: Options, session: Session) -> CostEstimate:
    """What the run of one backbone would take."""
    begun = time.perf_counter()
    manifest, _ = load_manifest(options.data, options.cache.folder)
    require_class_names(options.training.class_weights, manifest.classes)
    source = find_source(options.model.backbone, options.model.source, session.allow_custom)
    weights = describe(options.model, source, options.model.backbone)
    backbone = untrained_backbone(options, session).at_depth(manifest.depth)
    dims = resolve_dims(options.model.classifier_dims, options.model.backbone, backbone.features, len(manifest.classes))
    distinct = {i.sha256 for i in manifest.images}
    training = {i.sha256 for i in manifest.images if i.split in options.data.training_splits}
    view_passes = len(training) * (options.data.view_count - 1)
    passes = len(distinct) + view_passes
    taken, view_seconds = time_extraction(backbone, manifest, options, dims, session.device, begun)
    decoder = Decoder(backbone.preprocessing, options.data.augmentations, options.data.workers)
    return CostEstimate(
        name=options.experiment_name,
        backbone=options.model.backbone,
        weights=weights,
        features=backbone.features,
        dims=dims,
        classes=manifest.classes,
        images={s: len(manifest.of(s)) for s in SPLITS},
        passes=passes,
        time=taken,
        disk_bytes=passes * backbone.features * 2,
        views=options.data.view_count,
        view_passes=view_passes,
        view_seconds=view_seconds,
        view_disk_bytes=view_passes * backbone.features * 2,
        decoded_as=f"{manifest.fingerprint} {decoder.recipe}",
        notices=manifest.notices,
    )
