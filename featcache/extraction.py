"""Stage one: every image goes once through the frozen backbone, and its features into the store."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcache.backbones import Backbone, build_head, describe_backbone, load_backbone, resolve_dims
from featcache.data import load_manifest, normalise
from featcache.data.hashes import HashMemo
from featcache.data.images import READER, UnreadableImageError, decode_image
from featcache.data.quarantine import quarantine
from featcache.data.views import spec_digest, view
from featcache.errors import InputError, NonFiniteError, WorkError
from featcache.options import DataOptions, Options
from featcache.profiling import device_name, profile_model
from featcache.records import (
    SILENT,
    BackboneInfo,
    BadImage,
    Latency,
    Manifest,
    Profile,
    Progress,
    digest,
)
from featcache.store import FeatureStore, RowWriter

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class Extraction:
    """What stage one has at hand for one options file, all of it committed."""

    info: BackboneInfo
    manifest: Manifest  # of the images that can be read
    store: FeatureStore
    spec: str | None  # the store's name for the augmented views, if there are any
    dims: tuple[int, ...]  # the head's widths
    reused: int  # rows that were there already
    new: int  # rows extracted now
    bad: tuple[BadImage, ...]
    profile: Profile


@dataclass(frozen=True)
class _Task:
    """One image content with the views that the store lacks."""

    sha256: str
    path: Path
    views: tuple[int, ...]


class _UnreadFileError(UnreadableImageError):
    """The file system failed, which says nothing about the image."""


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, or the first GPU, or the CPU; raises InputError for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type not in {"cpu", "cuda", "mps"}:
            raise RuntimeError("nothing can be computed on it")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"--device {name}: cannot be used here ({reason}). Expected cpu, or cuda on a machine with a GPU."
        ) from None
    return device


def extract(
    options: Options,
    *,
    device: str | None = None,
    allow_custom: bool = False,
    progress: Progress = SILENT,
) -> Extraction:
    """Fill the store with the features that `options` needs, measure the model, and say what was new.

    Raises InputError (DataError, WeightsError, ..) before any work when the options cannot be followed, DataError when
    more than `data.max_bad_fraction` of the files is unreadable, NonFiniteError when features are.
    """
    place = pick_device(device)
    manifest, memo = load_manifest(options.data, options.cache.dir)
    for notice in manifest.notices:
        log.info("%s: %s", manifest.name, notice)
    info, backbone = describe_backbone(options, allow_custom=allow_custom)
    if info.origin.fell_back:
        log.warning(
            "%s: NO PRETRAINED WEIGHTS could be had: seeded random weights stand in (-v says why)",
            info.identity.backbone,
        )
    dims = resolve_dims(options.model.classifier_dims, info.identity.backbone, info.features, len(manifest.classes))
    store = FeatureStore(options.cache.dir, info)
    spec = _spec(options.data)
    missing = _missing(manifest, store, spec, options.data, memo)
    new = 0
    if missing:
        backbone = backbone or _load(options, allow_custom)
        with store.writing(log.warning) as writer:
            tasks = _missing(manifest, store, spec, options.data, memo)  # another process may just have filled some
            new = _run(tasks, backbone, writer, memo, manifest, spec, options, place, progress)
    readable, bad = quarantine(manifest, memo, options.data, Path(options.cache.dir))
    store.save_dataset(readable)
    wanted = len({i.sha256 for i in readable.images})
    extraction = Extraction(
        info=info,
        manifest=readable,
        store=store,
        spec=spec,
        dims=dims,
        reused=wanted - new,
        new=new,
        bad=bad,
        profile=_profile(store, backbone, info, dims, options, place, allow_custom),
    )
    log.info("%s: %d rows reused, %d new, %d bad", info.identity.stem, extraction.reused, new, len(bad))
    return extraction


def _spec(data: DataOptions) -> str | None:
    """The store's name for the views that `data` asks for; None where there is only the plain one."""
    if data.view_count == 1:
        return None
    return digest([spec_digest(data.augmentations), data.view_count])[:8]


def _load(options: Options, allow_custom: bool) -> Backbone:
    return load_backbone(
        options.model,
        precision=options.training.precision,
        dtype=options.cache.dtype,
        allow_custom=allow_custom,
    )


def _missing(
    manifest: Manifest, store: FeatureStore, spec: str | None, data: DataOptions, memo: HashMemo
) -> list[_Task]:
    """What the store lacks, each content once, in the manifest's order. Views are for training images only."""
    base = store.rows()
    augmented = store.rows(spec) if spec else {}
    tasks: dict[str, _Task] = {}
    for image in manifest.images:
        if image.sha256 in tasks or memo.bad_reason(image.sha256, READER) is not None:
            continue
        views: tuple[int, ...] = () if image.sha256 in base else (0,)
        # The manifest has train first, so a content in several splits meets its training copy first.
        if spec and image.split == "train" and image.sha256 not in augmented:
            views += tuple(range(1, data.view_count))
        if views:
            tasks[image.sha256] = _Task(image.sha256, image.path, views)
    return list(tasks.values())


def _run(
    tasks: Sequence[_Task],
    backbone: Backbone,
    writer: RowWriter,
    memo: HashMemo,
    manifest: Manifest,
    spec: str | None,
    options: Options,
    device: torch.device,
    progress: Progress,
) -> int:
    """Extract `tasks`; returns how many rows were committed."""
    name = backbone.info.identity.backbone
    backbone = backbone.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    progress.begin(name, len(tasks), "img")
    begin = time.perf_counter()
    images = done = 0
    batch_size = options.cache.batch_size
    try:
        for batch in _decoded(tasks, backbone, memo, options):
            features, batch_size = _forward(backbone, batch, batch_size, device)
            try:
                _append(writer, batch, features, spec)
            except NonFiniteError as error:
                raise _name_images(error, manifest, name) from None
            images += sum(len(t.views) for t, _ in batch)
            done += len(batch)
            progress.advance(len(batch))
        seconds = time.perf_counter() - begin
        # The rate that the leaderboard shows is that of the largest extraction, not of the last few images.
        if images and images >= writer.extraction.get("images", 0):
            writer.extraction = {
                "images": images,
                "seconds": seconds,
                "images_per_second": images / seconds,
                "batch_size": batch_size,
                "device": device_name(device),
                "precision": backbone.info.identity.precision,
            }
        progress.end(f"{done} images extracted, {images / max(seconds, 1e-9):.0f} img/s")
    finally:
        memo.save()
    return done


def _decoded(
    tasks: Sequence[_Task], backbone: Backbone, memo: HashMemo, options: Options
) -> Iterator[list[tuple[_Task, Tensor]]]:
    """Batches of (task, its views as uint8 `[v, 3, S, S]`), decoded ahead by threads; bad files go to the memo."""
    preprocessing = backbone.preprocessing
    augmentations = options.data.augmentations
    workers = options.data.workers or os.cpu_count() or 1
    size = options.cache.batch_size

    def decode(task: _Task) -> Tensor:
        try:
            data = task.path.read_bytes()
        except OSError as error:
            raise _UnreadFileError(error.strerror or str(error)) from None
        image = decode_image(data)
        return torch.stack([view(image, task.sha256, v, augmentations, preprocessing) for v in task.views])

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[_Task, Future[Tensor]]] = deque()
        remaining = iter(tasks)
        batch: list[tuple[_Task, Tensor]] = []
        filled = 0

        def refill() -> None:
            while len(waiting) < 2 * size:  # two batches ahead, whatever the number of images
                task = next(remaining, None)
                if task is None:
                    return
                waiting.append((task, pool.submit(decode, task)))

        refill()
        try:
            while waiting:
                task, future = waiting.popleft()
                try:
                    batch.append((task, future.result()))
                    filled += len(task.views)
                except _UnreadFileError as error:
                    memo.remember_unread(task.sha256, str(error))
                except UnreadableImageError as error:
                    memo.remember_bad(task.sha256, READER, str(error))
                refill()
                if batch and (filled >= size or not waiting):
                    yield batch
                    batch, filled = [], 0
            if batch:
                yield batch
        finally:
            for _, future in waiting:
                future.cancel()


def _forward(
    backbone: Backbone, batch: list[tuple[_Task, Tensor]], batch_size: int, device: torch.device
) -> tuple[Tensor, int]:
    """Features `[n, F]` of all views in the batch, and the batch size that fitted the device's memory."""
    images = torch.cat([views for _, views in batch])
    if device.type == "cuda":
        images = images.pin_memory()
    while True:
        try:
            pieces = []
            for piece in images.split(batch_size):
                x = normalise(piece.to(device, non_blocking=True), backbone.preprocessing)
                with torch.inference_mode():
                    pieces.append(backbone(x.contiguous(memory_format=torch.channels_last)).float().cpu())
            return torch.cat(pieces), batch_size
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise WorkError(
                    f"{backbone.info.identity.backbone}: one image does not fit the memory of {device}. Choose a "
                    "smaller model.input_size or another device."
                ) from None
            batch_size = max(1, batch_size // 2)
            torch.cuda.empty_cache()
            log.warning("%s: out of memory; going on with batches of %d", backbone.info.identity.backbone, batch_size)


def _append(writer: RowWriter, batch: list[tuple[_Task, Tensor]], features: Tensor, spec: str | None) -> None:
    rows = features.split([len(task.views) for task, _ in batch])
    plain = [(t.sha256, r[0]) for (t, _), r in zip(batch, rows, strict=True) if t.views[0] == 0]
    if plain:
        writer.append([s for s, _ in plain], torch.stack([r for _, r in plain]).numpy())
    augmented = [
        (t.sha256, r[-(len(t.views) - (t.views[0] == 0)) :])
        for (t, _), r in zip(batch, rows, strict=True)
        if t.views[-1] > 0
    ]
    if augmented:
        writer.append([s for s, _ in augmented], torch.stack([r for _, r in augmented]).numpy(), spec)


def _name_images(error: NonFiniteError, manifest: Manifest, backbone: str) -> NonFiniteError:
    """The store's error, which knows contents, in the user's words, with file names."""
    hashes = set(str(error).split(","))
    names = [i.name for i in manifest.images if i.sha256 in hashes]
    if not names:
        return NonFiniteError(f"{backbone}: {error}. Set cache.dtype to float32 or auto.")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return NonFiniteError(
        f"{backbone}: its features are not finite (NaN or infinity) for {', '.join(names[:3])}{more}. Expected finite "
        "features: check the weights, or training.precision, which is too narrow for some networks as float16."
    )


def _profile(
    store: FeatureStore,
    backbone: Backbone | None,
    info: BackboneInfo,
    dims: tuple[int, ...],
    options: Options,
    device: torch.device,
    allow_custom: bool,
) -> Profile:
    """The full model's profile on this device: from the store when it was measured like this before."""
    conditions: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": info.identity.precision,
        "dims": list(dims),
        "throughput_batch_size": options.data.batch_size,
        **options.profile.model_dump(),
    }
    key = digest(conditions)[:16]
    known = store.profiles().get(key)
    if known is not None:
        return Profile(**{**known, "latency_ms": Latency(**known["latency_ms"])})
    backbone = (backbone or _load(options, allow_custom)).to(device)
    profile = profile_model(
        backbone,
        build_head(dims, options.model.dropout),
        input_size=info.identity.preprocessing.input_size,
        precision=info.identity.precision,
        throughput_batch_size=options.data.batch_size,
        options=options.profile,
        device=device,
    )
    if profile.busy:
        log.warning(
            "%s: latency p95 is %.1f ms against a median of %.1f ms: something else kept the machine busy",
            info.identity.backbone,
            profile.latency_ms.p95,
            profile.latency_ms.p50,
        )
    store.save_profile(key, asdict(profile))
    return profile
