"""Stage one: every image goes once through the frozen backbone, and its features into the store."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcache.backbones import Backbone, build_head, describe_backbone, load_backbone, resolve_dims
from featcache.data import load_manifest
from featcache.data.decoding import ChangedFileError, Decoded, Decoder, Task, UnreadFileError
from featcache.data.hashes import HashMemo
from featcache.data.images import READER, EvalTransform, UnreadableImageError
from featcache.data.quarantine import quarantine
from featcache.data.scratch import Scratch
from featcache.data.views import spec_digest
from featcache.errors import InputError, NonFiniteError, OptionsError, WorkError
from featcache.inference import Inference, one_image_too_many
from featcache.options import DataOptions, Options
from featcache.profiling import device_name, out_of_memory, profile_model
from featcache.records import SILENT, BackboneInfo, BadImage, Manifest, Profile, Progress, digest
from featcache.store import FeatureStore, RowWriter
from featcache.store.upkeep import why_new

log = logging.getLogger("featcache")

BLOCK_IMAGES = 64  # decoded at a time, at least
PREPROCESS_SAMPLE = 16  # images whose decoding is timed for the profile


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


@dataclass(frozen=True)
class _Job:
    """What one extraction works on, handed through its steps."""

    options: Options
    device: torch.device
    manifest: Manifest
    memo: HashMemo
    info: BackboneInfo
    dims: tuple[int, ...]
    store: FeatureStore
    spec: str | None
    progress: Progress
    scratch: Scratch | None
    allow_custom: bool


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
    scratch: Scratch | None = None,
) -> Extraction:
    """Fill the store with the features that `options` needs, measure the model, and say what was new.

    Several calls that share a `scratch` decode each image once. Raises InputError (DataError, WeightsError, ..) before
    any work when the options cannot be followed, DataError when more than `data.max_bad_fraction` of the files is
    unreadable, NonFiniteError when features are, DiskFullError where there is no room.
    """
    if len(options.model.names) > 1:
        raise OptionsError(
            f"model.backbone: {options.model.backbone!r} names several. Extract them one by one (`options.parts`), or "
            "use featcache.joined.extract_joined."
        )
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
    job = _Job(options, place, manifest, memo, info, dims, store, _spec(options.data), progress, scratch, allow_custom)
    store.hold()
    new = 0
    if _missing(job):
        new, backbone = _extract_and_measure(job, backbone)
    if store.rows() and _known_profile(job) is None:
        store.save_profile(_profile_key(job), asdict(_measure(job, backbone or _load(job))))
    readable, bad = quarantine(manifest, memo, options.data, Path(options.cache.dir))
    store.save_dataset(readable)
    profile = _known_profile(job)
    assert profile is not None  # measured above, where it was not there
    if profile.busy:
        log.warning(
            "%s: latency p95 is %.1f ms against a median of %.1f ms: something else kept the machine busy when it was "
            "measured",
            info.identity.backbone,
            profile.latency_ms.p95,
            profile.latency_ms.p50,
        )
    reused = len({i.sha256 for i in readable.images}) - new
    log.info("%s: %d rows reused, %d new, %d bad", info.identity.stem, reused, new, len(bad))
    return Extraction(info, readable, store, job.spec, options.data.view_count, dims, reused, new, bad, profile)


def extract_with(
    backbone: Backbone, options: Options, manifest: Manifest, *, device: torch.device, progress: Progress = SILENT
) -> FeatureStore:
    """Fill the store of a backbone that is built already with the rows of `manifest`; nothing is measured.

    Raises what `extract` does once it has begun.
    """
    _, memo = load_manifest(options.data, options.cache.dir)
    store = FeatureStore(options.cache.dir, backbone.info)
    spec = _spec(options.data)
    job = _Job(options, device, manifest, memo, backbone.info, (), store, spec, progress, None, allow_custom=False)
    store.hold()
    if _missing(job):
        with store.writing(log.warning) as writer:
            if tasks := _missing(job):
                _run(job, tasks, backbone, writer)
    return store


def _spec(data: DataOptions) -> str | None:
    """The store's name for the views that `data` asks for; None where there is only the plain one."""
    if data.view_count == 1:
        return None
    return digest([spec_digest(data.augmentations), data.view_count])[:8]


def _load(job: _Job) -> Backbone:
    options = job.options
    return load_backbone(
        options.model,
        precision=options.training.precision,
        dtype=options.cache.dtype,
        allow_custom=job.allow_custom,
    )


def _missing(job: _Job) -> list[Task]:
    """What the store lacks, each content once, in the manifest's order. Views are for images that train only."""
    base = job.store.rows()
    augmented = job.store.rows(job.spec) if job.spec else {}
    tasks: dict[str, Task] = {}
    for image in job.manifest.images:
        if image.sha256 in tasks or job.memo.bad_reason(image.sha256, READER) is not None:
            continue
        views: tuple[int, ...] = () if image.sha256 in base else (0,)
        # The manifest has train first, so a content in several splits meets its training copy first.
        if job.spec and image.split in job.options.data.training_splits and image.sha256 not in augmented:
            views += tuple(range(1, job.options.data.view_count))
        if views:
            tasks[image.sha256] = Task(image.sha256, image.path, views)
    return list(tasks.values())


def _extract_and_measure(job: _Job, backbone: Backbone | None) -> tuple[int, Backbone | None]:
    """Commit the rows and the profile that the store lacks; returns how many images were extracted, and the backbone
    where it is still as `load_model` gives it."""
    begun = job.store.path.exists() or job.store.parts.files()
    if not begun and (reason := why_new(job.store.path.parent, job.info.identity)) is not None:
        log.info("%s: extracted anew: %s", job.info.identity.stem, reason)
    with job.store.writing(log.warning) as writer:
        tasks = _missing(job)
        if not tasks:  # another process has just filled them
            return 0, backbone
        backbone = backbone or _load(job)
        if _known_profile(job) is None:  # first, while the network is as `load_model` gives it
            writer.profiles[_profile_key(job)] = asdict(_measure(job, backbone))
        return _run(job, tasks, backbone, writer), None


def _run(job: _Job, tasks: Sequence[Task], backbone: Backbone, writer: RowWriter) -> int:
    """Extract `tasks`; returns how many of them could be."""
    cache, data = job.options.cache, job.options.data
    name, distinct = job.info.identity.backbone, {i.sha256 for i in job.manifest.images}
    infer = Inference(backbone, job.device, cache.batch_size, cache.compile)
    decoder = Decoder(backbone.preprocessing, data.augmentations, data.workers, job.scratch)
    images = new = 0
    bad = sum(job.memo.bad_reason(s, READER) is not None for s in distinct)
    reused = len(distinct) - len(tasks) - bad
    job.progress.begin(name, len(tasks), "img")
    try:
        blocks = decoder.blocks(
            tasks, max(BLOCK_IMAGES, infer.batch_size), infer.batch_size, ahead=job.device.type != "cpu"
        )
        for block in blocks:
            readable = _set_bad_aside(block, job)
            for finished in _features(infer, readable):
                try:
                    _append(writer, finished, job.spec)
                except NonFiniteError as error:
                    raise _name_images(error, job.manifest, name) from None
                images += sum(len(rows) for _, rows in finished)
            new += len(readable)
            bad += len(block) - len(readable)
            job.progress.advance(len(block), f"{reused} reused, {new} new, {bad} bad")
        seconds = decoder.seconds + infer.seconds
        # The rate on record is that of the largest extraction, not of the last few images.
        writer.extraction["batch_size"] = infer.batch_size
        if images and images >= writer.extraction.get("images", 0):
            writer.extraction = {
                "images": images,
                "seconds": seconds,
                "decode_seconds": decoder.seconds,
                "forward_seconds": infer.seconds,
                "images_per_second": images / seconds,
                "batch_size": infer.batch_size,
                "folded_batch_norms": infer.folded,
                "device": device_name(job.device),
                "precision": job.info.identity.precision,
            }
        job.progress.end(f"{new} images extracted, {images / max(seconds, 1e-9):.0f} img/s")
    finally:
        job.memo.save()
    return new


def _set_bad_aside(block: Sequence[Decoded], job: _Job) -> list[tuple[Task, tuple[Tensor, ...]]]:
    """What could be decoded; the memo learns of the rest, and the quarantine from the memo."""
    readable = []
    for decoded in block:
        task, error = decoded.task, decoded.error
        if decoded.images is not None:
            readable.append((task, decoded.images))
        elif isinstance(error, UnreadFileError):
            job.memo.remember_unread(task.sha256, str(error))
            if isinstance(error, ChangedFileError):
                job.memo.forget(task.path)
        else:
            job.memo.remember_bad(task.sha256, READER, str(error))
    return readable


def _features(
    infer: Inference, readable: Sequence[tuple[Task, tuple[Tensor, ...]]]
) -> Iterator[list[tuple[Task, Tensor]]]:
    """Tasks with the features `[v, F]` of their views, as soon as the last of these has been through the network: what
    is not committed yet is never more than a pass or two."""
    if not readable:
        return
    images = torch.stack([view for _, views in readable for view in views])
    waiting = deque(task for task, _ in readable)
    rows: Tensor | None = None
    start = 0
    while start < len(images):
        size = infer.batch_size  # smaller from here on, where a batch did not fit
        found = infer(images[start : start + size])
        rows = found if rows is None else torch.cat([rows, found])
        start += size
        finished = []
        while waiting and len(waiting[0].views) <= len(rows):
            task = waiting.popleft()
            finished.append((task, rows[: len(task.views)]))
            rows = rows[len(task.views) :]
        if finished:
            yield finished


def _append(writer: RowWriter, finished: Sequence[tuple[Task, Tensor]], spec: str | None) -> None:
    plain = [(t.sha256, r[0]) for t, r in finished if t.views[0] == 0]
    if plain:
        writer.append([s for s, _ in plain], torch.stack([r for _, r in plain]).numpy())
    augmented = [(t.sha256, r[-(len(t.views) - (t.views[0] == 0)) :]) for t, r in finished if t.views[-1] > 0]
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


def _profile_key(job: _Job) -> str:
    """What a measurement depends on beside the network."""
    conditions: dict[str, Any] = {
        "device": device_name(job.device),
        "threads": torch.get_num_threads(),
        "precision": job.info.identity.precision,
        "dims": list(job.dims),
        "throughput_batch_size": job.options.data.batch_size,
        **job.options.profile.model_dump(),
    }
    return digest(conditions)[:16]


def _known_profile(job: _Job) -> Profile | None:
    """The profile, when it was measured under the same conditions before."""
    known = job.store.profiles().get(_profile_key(job))
    return Profile.from_dict(known) if known is not None else None


def _measure(job: _Job, backbone: Backbone) -> Profile:
    """The full model's profile on this device."""
    options = job.options
    log.info("%s: measuring latency, %d passes", job.info.identity.backbone, options.profile.iterations)
    transform = EvalTransform(backbone.preprocessing)
    readable = [i.path for i in job.manifest.images if job.memo.bad_reason(i.sha256, READER) is None]
    sample = readable[:: max(1, len(readable) // PREPROCESS_SAMPLE)][:PREPROCESS_SAMPLE]
    own = job.info.identity.precision
    try:
        profile = profile_model(
            backbone,
            build_head(job.dims, options.model.dropout),
            input_size=job.info.identity.preprocessing.input_size,
            precision=own,
            throughput_batch_size=options.data.batch_size,
            options=options.profile,
            device=job.device,
            variants={p: backbone.at(p) for p in options.profile.precisions if p != own},
            preprocess=[partial(_prepare, transform, path) for path in sample],
        )
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        first = options.profile.batch_sizes[0]
        if first > 1:
            raise WorkError(
                f"{job.info.identity.backbone}: profile.batch_sizes starts with {first}, which does not fit the memory "
                f"of {job.device}. Put a smaller one first."
            ) from None
        raise one_image_too_many(job.info.identity.backbone, job.device) from None
    return profile


def _prepare(transform: EvalTransform, path: Path) -> None:
    with contextlib.suppress(UnreadableImageError, OSError):  # the extraction finds and reports them
        transform(path)
