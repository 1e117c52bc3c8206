"""How long an extraction takes on this device, from a short calibration of each of its parts as the extraction does it.

What grows with the images (decoding, forward passes, writing rows) is timed on some of them, for a second or so each;
what does not (building the network, scanning, measuring latency) is timed as it is, or pass by pass.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from featcache.backbones import Backbone, build_head
from featcache.data import Decoder, Task
from featcache.devices import products_in
from featcache.extraction.batch_search import fastest_batch
from featcache.extraction.inference import Inference
from featcache.extraction.row_extraction import decoded_blocks
from featcache.options import Options
from featcache.profiling import count_macs, noise_images, seconds_a_pass
from featcache.records import Manifest
from featcache.store import FeatureStore

SECONDS = 1.0  # that a rate is told from, at least
MOST_FILES = 512
STORED_BYTES = 64 << 20  # of rows that are written to see how fast that goes
CPU = torch.device("cpu")
GOLDEN = 0.6180339887498949  # multiples of it, without their whole part, lie evenly however many there are


@dataclass(frozen=True)
class ExtractionTime:
    """Seconds of an extraction from an empty cache, by what they are spent on."""

    begin: float  # scanning the images, building the network, arranging it for extraction
    profile: float  # latency, throughput, multiply-adds
    decode: float
    forward: float
    store: float  # rows and the data set's table, written

    @property
    def total(self) -> float:
        """All of it."""
        return self.begin + self.profile + self.decode + self.forward + self.store


def time_extraction(
    backbone: Backbone, manifest: Manifest, options: Options, dims: Sequence[int], device: torch.device, begun: float
) -> tuple[ExtractionTime, float]:
    """What `options` would take with `backbone`, which is on the CPU and may be rearranged, and of it the seconds for
    augmented views. `begun` is `time.perf_counter()` when the images were not scanned and the network not built yet."""
    backbone.to(device)
    built = time.perf_counter() - begun
    profile = _profile_seconds(backbone, options, dims, device)
    began = time.perf_counter()
    infer = Inference(backbone, device, options.cache.images_a_pass, options.cache.compile)
    if options.cache.batch_size == "auto":
        infer.batch_size = fastest_batch(infer, {})
    images = infer.noise(infer.batch_size)
    infer(images)  # the first, which compiles where that is asked for
    arranged = time.perf_counter() - began
    a_pass = seconds_a_pass(lambda: infer(images), CPU, SECONDS)  # to the device and back
    work = _Work.of(manifest, options)
    plain, augmented, alone = _decode_seconds(backbone, infer, options, work)
    profile += 17 * alone  # preprocessing, timed on one thread
    views = augmented + a_pass * work.augmented / infer.batch_size
    time_taken = ExtractionTime(
        begin=built + arranged,
        profile=profile,
        decode=plain + augmented,
        forward=a_pass * -(-(work.plain + work.augmented) // infer.batch_size),
        store=_store_seconds(backbone, manifest, options, work),
    )
    return time_taken, views


@dataclass(frozen=True)
class _Work:
    """The distinct images: those that are decoded for their plain view alone, and those that have others too."""

    alone: tuple[Task, ...]
    with_views: tuple[Task, ...]
    views: int

    @property
    def plain(self) -> int:
        """Forward passes of plain views."""
        return len(self.alone) + len(self.with_views)

    @property
    def augmented(self) -> int:
        """Forward passes of augmented views."""
        return len(self.with_views) * (self.views - 1)

    @classmethod
    def of(cls, manifest: Manifest, options: Options) -> _Work:
        views = options.data.view_count
        places = {i.sha256: i.place for i in reversed(manifest.images)}
        trains = {i.sha256 for i in manifest.images if i.split in options.data.training_splits and views > 1}
        alone = [Task(s, p, (0,)) for s, p in places.items() if s not in trains]
        several = [Task(s, p, tuple(range(views))) for s, p in places.items() if s in trains]
        return cls(tuple(alone), tuple(several), views)


def _profile_seconds(backbone: Backbone, options: Options, dims: Sequence[int], device: torch.device) -> float:
    """Of what `profile_model` does but for preprocessing, told from a few passes of each kind."""
    profile, own = options.profile, backbone.info.identity.precision
    head = build_head(dims, options.model.dropout).to(device).eval()
    side = backbone.preprocessing.input_size
    seconds = 0.0
    each: dict[int, float] = {}
    for precision in (own, *(p for p in profile.precisions if p != own)):
        network = nn.Sequential(backbone.at(precision), head)
        for size in profile.batch_sizes:
            once = _forward_seconds(network, precision, size, side, device)
            seconds += once * (profile.warmup + profile.iterations)
            if precision == own:
                each[size] = once / size
    model = nn.Sequential(backbone, head)
    size = options.data.batch_size if device.type == "cuda" else min(options.data.batch_size, 8)
    image = each[size] if size in each else _forward_seconds(model, own, size, side, device) / size
    began = time.perf_counter()
    count_macs(model, side)
    return seconds + 6 * image * options.data.batch_size + time.perf_counter() - began


def _forward_seconds(network: nn.Module, precision: str, images: int, side: int, device: torch.device) -> float:
    batch = noise_images(images, side, device)
    with products_in(precision, device), torch.inference_mode():
        return seconds_a_pass(lambda: network(batch), device, SECONDS / 2)


def _decode_seconds(backbone: Backbone, infer: Inference, options: Options, work: _Work) -> tuple[float, float, float]:
    """To decode all plain views, all augmented ones, and one image by one thread."""
    data = options.data
    seconds = {}
    for name, tasks, views in (("alone", work.alone, 1), ("with views", work.with_views, work.views)):
        if not tasks:
            seconds[name] = 0.0
            continue
        decoder = Decoder(
            backbone.preprocessing,
            data.augmentations,
            data.workers,
            processes=data.decoders == "processes",
            timeout_s=data.decode_timeout_s,
        )
        sample = _spread(tasks, max(1, MOST_FILES // views))
        done = 0
        for block in decoded_blocks(decoder, sample, infer):
            done += len(block)
            if decoder.seconds > SECONDS:
                break
        seconds[name] = decoder.seconds / max(done, 1)
        workers = decoder.workers
    views_alone = len(work.with_views) * seconds["with views"]
    one = seconds["alone"] or seconds["with views"] / work.views
    plain = len(work.alone) * seconds["alone"] + min(views_alone, len(work.with_views) * one)
    return plain, max(0.0, views_alone - len(work.with_views) * one), one * workers


def _spread(tasks: Sequence[Task], most: int) -> list[Task]:
    """Some tasks from all over, in an order of which every beginning is spread too."""
    order = np.argsort(np.argsort(np.arange(len(tasks)) * GOLDEN % 1))
    return [tasks[place] for place in order[:most]]


def _store_seconds(backbone: Backbone, manifest: Manifest, options: Options, work: _Work) -> float:
    """To write as many rows, and the data set's table, beside where they would go."""
    width, rows = backbone.features, work.plain + work.augmented
    tried = max(1, min(rows, STORED_BYTES // (4 * width)))
    values = np.random.default_rng(0).standard_normal((tried, width), np.float32)
    # Rows of this data set where there are as many: its table goes with them.
    every = [task.sha256 for task in (*work.alone, *work.with_views)]
    names = (every + [f"{number:064x}" for number in range(tried)])[:tried]
    known = set(names)
    table = replace(manifest, images=tuple(i for i in manifest.images if i.sha256 in known))
    with tempfile.TemporaryDirectory(prefix=".timed-", dir=nearest_folder(options.cache.folder)) as folder:
        store = FeatureStore(folder, backbone.info)
        began = time.perf_counter()
        with store.writing() as writer:
            writer.append(names, values)
        written = time.perf_counter() - began
        store.save_dataset(table)
        listed = time.perf_counter() - began - written
    return written * rows / tried + listed * len(manifest.images) / max(1, len(table.images))


def nearest_folder(folder: Path) -> Path | None:
    """The folder, or the nearest above it that is there; None, the system's own place, where none may be written to."""
    found = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.is_dir())
    try:
        with tempfile.TemporaryFile(dir=found):
            return found
    except OSError:
        return None
