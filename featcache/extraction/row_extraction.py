"""Missing images go through the backbone, pass by pass, and their rows to the store's writer once they are whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from featcache.backbones import Backbone
from featcache.counted_nouns import counted
from featcache.data import READER, ChangedFileError, Decoded, Decoder, GivenUpError, Task, UnreadFileError
from featcache.devices import device_name
from featcache.errors import NonFiniteError
from featcache.extraction.batch_search import fastest_batch
from featcache.extraction.inference import Inference
from featcache.extraction.store_fill import StoreFill
from featcache.session import Session
from featcache.store import RowWriter

BLOCK_IMAGES = 64  # decoded at a time, at least


def extract_rows(
    fill: StoreFill, tasks: Sequence[Task], backbone: Backbone, writer: RowWriter, session: Session
) -> int:
    """Extract `tasks`, tell the session's progress, and note the rate; returns how many of them could be.

    Raises NonFiniteError with the names of the images whose features are not finite.
    """
    cache, progress = fill.options.cache, session.progress
    infer = Inference(backbone, session.device, cache.images_a_pass, cache.compile)
    if cache.batch_size == "auto":
        infer.batch_size = fastest_batch(infer, writer.extraction.setdefault("searched", {}))
    data = fill.options.data
    decoder = Decoder(
        backbone.preprocessing,
        data.augmentations,
        data.workers,
        session.scratch,
        processes=data.decoders == "processes",
        timeout_s=data.decode_timeout_s,
    )
    distinct = {i.sha256 for i in fill.manifest.images}
    images = new = 0
    bad = sum(map(fill.unreadable, distinct))
    reused = len(distinct) - len(tasks) - bad
    progress.begin(fill.backbone, len(tasks), "img")
    try:
        for block in decoded_blocks(decoder, tasks, infer):
            readable = set_bad_aside(block, fill)
            for finished in features_of(infer, readable):
                append_rows(writer, finished, fill)
                images += sum(len(rows) for _, rows in finished)
            new += len(readable)
            bad += len(block) - len(readable)
            progress.advance(len(block), f"{reused} reused, {new} new, {bad} bad")
        rate = Rate.of(images, decoder, infer, fill.store.info.identity.precision)
        note_rate(writer, rate)
        progress.end(f"{counted(new, 'image')} extracted, {rate.images_per_second:.0f} img/s")
    finally:
        fill.memo.save()
    return new


def decoded_blocks(decoder: Decoder, tasks: Sequence[Task], infer: Inference) -> Iterator[list[Decoded]]:
    """The tasks decoded in blocks that fill whole passes of `infer`; ahead of them where another device computes."""
    images = max(BLOCK_IMAGES, infer.batch_size)
    return decoder.blocks(tasks, images, infer.batch_size, ahead=infer.device.type != "cpu")


@dataclass(frozen=True)
class Rate:
    """How fast an extraction went."""

    images: int
    decode_seconds: float
    forward_seconds: float
    batch_size: int
    folded_batch_norms: int
    device: str
    precision: str

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.decode_seconds + self.forward_seconds

    @property
    def images_per_second(self) -> float:
        """Of both together."""
        return self.images / max(self.seconds, 1e-9)

    def plus(self, other: Rate) -> Rate:
        """Of what was done after it, too."""
        return replace(
            other,
            images=self.images + other.images,
            decode_seconds=self.decode_seconds + other.decode_seconds,
            forward_seconds=self.forward_seconds + other.forward_seconds,
        )

    @classmethod
    def of(cls, images: int, decoder: Decoder, infer: Inference, precision: str) -> Rate:
        """That of these two so far."""
        device = device_name(infer.device)
        return cls(images, decoder.seconds, infer.seconds, infer.batch_size, infer.folded, device, precision)


def note_rate(writer: RowWriter, rate: Rate) -> None:
    """The rate on record is that of the largest extraction, not of the last few images."""
    writer.extraction["batch_size"] = rate.batch_size
    if not rate.images or rate.images < writer.extraction.get("images", 0):
        return
    writer.extraction = {
        **asdict(rate),
        "seconds": rate.seconds,
        "images_per_second": rate.images_per_second,
        "searched": writer.extraction.get("searched", {}),
    }


def set_bad_aside(block: Sequence[Decoded], fill: StoreFill) -> list[tuple[Task, tuple[Tensor, ...]]]:
    """What could be decoded; the memo learns of the rest, and the quarantine from the memo."""
    readable = []
    for decoded in block:
        task, error = decoded.task, decoded.error
        if decoded.images is not None:
            if decoded.note is not None:
                fill.memo.remember_note(task.sha256, READER, decoded.note)
            if not fill.unreadable(task.sha256):  # as it is where its end is missing and that is not allowed
                readable.append((task, decoded.images))
        elif isinstance(error, UnreadFileError | GivenUpError):
            fill.memo.remember_unread(task.sha256, str(error))
            if isinstance(error, ChangedFileError):
                fill.memo.forget(task.place)
        else:
            fill.memo.remember_bad(task.sha256, READER, str(error))
    return readable


def features_of(
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


def append_rows(writer: RowWriter, finished: Sequence[tuple[Task, Tensor]], fill: StoreFill) -> None:
    """Hand the rows of tasks to the writer; raises NonFiniteError that names their images."""
    try:
        _append(writer, finished, fill.spec)
    except NonFiniteError as error:
        raise _name_images(error, fill) from None


def _append(writer: RowWriter, finished: Sequence[tuple[Task, Tensor]], spec: str | None) -> None:
    plain = [(t.sha256, r[0]) for t, r in finished if t.views[0] == 0]
    if plain:
        writer.append([s for s, _ in plain], torch.stack([r for _, r in plain]).numpy())
    augmented = [(t.sha256, r[-(len(t.views) - (t.views[0] == 0)) :]) for t, r in finished if t.views[-1] > 0]
    if augmented:
        writer.append([s for s, _ in augmented], torch.stack([r for _, r in augmented]).numpy(), spec)


def _name_images(error: NonFiniteError, fill: StoreFill) -> NonFiniteError:
    """The store's error, which knows contents, in the user's words, with file names."""
    hashes = set(str(error).split(","))
    names = [i.name for i in fill.manifest.images if i.sha256 in hashes]
    if not names:
        return NonFiniteError(f"{fill.backbone}: {error}. Set cache.dtype to float32 or auto.")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return NonFiniteError(
        f"{fill.backbone}: its features are not finite (NaN or infinity) for {', '.join(names[:3])}{more}. Expected "
        "finite features: check the weights, or training.precision, which is too narrow for some networks as float16."
    )
