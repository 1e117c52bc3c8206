"""The missing images of one backbone shared out to worker processes; their rows come back in the images' own order.

Here is the one writer of the store, so a row is written once, and the file is that of one device, row for row.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbones import load_parts
from featcache.counted_nouns import counted
from featcache.data import Decoded, Decoder, Scratch, Task
from featcache.errors import WorkError
from featcache.extraction.batch_search import fastest_batch
from featcache.extraction.inference import Inference
from featcache.extraction.row_extraction import (
    BLOCK_IMAGES,
    Rate,
    append_rows,
    decoded_blocks,
    features_of,
    note_rate,
    set_bad_aside,
)
from featcache.extraction.store_fill import StoreFill
from featcache.options import Options
from featcache.records import Identity
from featcache.session import Session
from featcache.store import RowWriter
from featcache.workers import Done, Failed, Found, Job, Worker, Workers

AHEAD = 4 * BLOCK_IMAGES  # images that one worker may be before the others: their rows wait in memory


@dataclass(frozen=True)
class Outcome:
    """What became of a task: its features `[v, F]`, or why there are none; the decoded pixels are not in it."""

    decoded: Decoded
    rows: NDArray[np.float32] | None


@dataclass(frozen=True)
class ShareSetup:
    """What every worker needs for its share."""

    options: Options
    identity: Identity  # of the backbone: every process must have the same
    allow_custom: bool
    searched: dict[str, Any]  # batches on record


def extract_spread(fill: StoreFill, tasks: Sequence[Task], writer: RowWriter, session: Session) -> int:
    """`extract_rows` over all devices of the session; raises WorkError too when a worker dies: what is committed by
    then is kept."""
    workers, progress = session.workers, session.progress
    assert workers is not None
    options = sharing_cores(fill.options, workers.count)
    record = writer.extraction.setdefault("searched", {})
    setup = ShareSetup(options, fill.store.info.identity, session.allow_custom, record)
    owners = _owners(len(tasks), workers.count)
    distinct = {i.sha256 for i in fill.manifest.images}
    bad = sum(map(fill.unreadable, distinct))
    reused, new = len(distinct) - len(tasks) - bad, 0
    progress.begin(f"{fill.backbone} on {workers.count} devices", len(tasks), "img")
    rates: list[Rate] = []
    try:
        with workers.closing_on_error():
            search(setup, workers)
            for rank in range(workers.count):
                share = [t for t, owner in zip(tasks, owners, strict=True) if owner == rank]
                workers.give(rank, Job(extract_share, (setup, share)))
            for block in _in_order(tasks, owners, workers, rates):
                readable = append_outcomes(block, fill, writer)
                new, bad = new + readable, bad + len(block) - readable
                progress.advance(len(block), f"{reused} reused, {new} new, {bad} bad")
        slowest = max(rates, key=lambda rate: rate.seconds)
        rate = replace(slowest, images=sum(one.images for one in rates))
        note_rate(writer, rate)
        progress.end(f"{counted(new, 'image')} extracted, {rate.images_per_second:.0f} img/s")
    finally:
        fill.memo.save()
    return new


def sharing_cores(options: Options, count: int) -> Options:
    """The options for each of `count` processes that decode beside each other."""
    each = max(1, (options.data.workers or os.cpu_count() or 1) // count)
    return options.model_copy(update={"data": options.data.model_copy(update={"workers": each})})


def _owners(tasks: int, count: int) -> list[int]:
    """The worker of each task: blocks in turn, so that every backbone's images meet the pixels that are kept there."""
    size = max(1, min(BLOCK_IMAGES, -(-tasks // count)))
    return [(place // size) % count for place in range(tasks)]


def search(setup: ShareSetup, workers: Workers) -> None:
    """The fastest batch where that is asked for, found by one worker for all: rows depend on it by rounding."""
    if setup.options.cache.batch_size != "auto":
        return
    (outcome,) = workers.run([Job(search_batch, (setup,))])
    if not isinstance(outcome, Done):
        raise outcome.error
    setup.searched.update(outcome.value)


def _in_order(
    tasks: Sequence[Task], owners: Sequence[int], workers: Workers, rates: list[Rate]
) -> Iterator[list[Outcome]]:
    """Blocks of outcomes in the order of `tasks`; `rates` gets how fast each worker was."""
    waiting: dict[str, Outcome] = {}
    owner_of = {task.sha256: owner for task, owner in zip(tasks, owners, strict=True)}
    running, held, place = set(range(workers.count)), Counter[int](), 0
    while running:
        due = owners[place] if place < len(tasks) else None
        heard = workers.next({r for r in running if r == due or held[r] < AHEAD})
        assert heard is not None  # of workers that are all there from the beginning
        rank, message = heard
        if isinstance(message, Found):
            waiting |= {one.decoded.task.sha256: one for one in message.value}
            held[rank] += len(message.value)
        elif isinstance(message, Failed):
            raise message.error
        elif isinstance(message, Done):
            running.discard(rank)
            rates.append(message.value)
        block = []
        while place < len(tasks) and (one := waiting.pop(tasks[place].sha256, None)) is not None:
            block.append(one)
            held[owner_of[tasks[place].sha256]] -= 1
            place += 1
        if block:
            yield block
    assert place == len(tasks)


def append_outcomes(block: Sequence[Outcome], fill: StoreFill, writer: RowWriter) -> int:
    """Hand rows to the writer; how many images have any."""
    rows = {one.decoded.task.sha256: one.rows for one in block}
    readable = [task for task, _ in set_bad_aside([one.decoded for one in block], fill)]
    given = [(t, found) for t in readable if (found := rows[t.sha256]) is not None]
    finished = [(t, torch.from_numpy(np.require(found, requirements="W"))) for t, found in given]  # Ray's are read-only
    if finished:
        append_rows(writer, finished, fill)
    return len(readable)


def search_batch(worker: Worker, setup: ShareSetup) -> dict[str, Any]:
    """In a worker: the fastest batch of its device, by which it is on record."""
    make_inference(worker, setup)
    return setup.searched


def extract_share(worker: Worker, setup: ShareSetup, tasks: Sequence[Task]) -> Rate:
    """In a worker: hand over an Outcome for each task; how fast it was."""
    infer = make_inference(worker, setup)
    images = 0
    decoder = make_decoder(setup, kept_scratch(worker, setup.options, setup.options.cache.folder))
    for block in decoded_blocks(decoder, tasks, infer):
        readable = [(one.task, one.images) for one in block if one.images is not None]
        known = {one.task.sha256: replace(one, images=None if one.images is None else ()) for one in block}
        if unreadable := [one for one in known.values() if one.images is None]:
            worker.found([Outcome(one, None) for one in unreadable])
        for finished in features_of(infer, readable):
            images += sum(len(rows) for _, rows in finished)
            worker.found([Outcome(known[task.sha256], rows.numpy()) for task, rows in finished])
    return Rate.of(images, decoder, infer, setup.identity.precision)


def make_decoder(setup: ShareSetup, scratch: Scratch) -> Decoder:
    """Of the images of a share."""
    data = setup.options.data
    return Decoder(
        setup.identity.preprocessing,
        data.augmentations,
        data.workers,
        scratch,
        processes=data.decoders == "processes",
        timeout_s=data.decode_timeout_s,
    )


def make_inference(worker: Worker, setup: ShareSetup) -> Inference:
    """The network on this worker's device; raises WorkError where it is another than that of the process that gives
    out the work."""
    cache = setup.options.cache
    (backbone,) = load_parts(setup.options, allow_custom=setup.allow_custom)
    backbone = backbone.at_depth(setup.identity.preprocessing.depth)
    if backbone.info.identity != setup.identity:
        raise WorkError(
            f"{setup.identity.backbone}: the worker process of {worker.device} got another network than the process "
            "that started it, by its weights or its transform. Were its weights changed meanwhile? Run again."
        )
    infer = Inference(backbone, torch.device(worker.device), cache.images_a_pass, cache.compile)
    if cache.batch_size == "auto":
        infer.batch_size = fastest_batch(infer, setup.searched)
    return infer


def kept_scratch(worker: Worker, options: Options, folder: Path) -> Scratch:
    """Where this worker keeps decoded images for the next backbone."""
    if "scratch" not in worker.kept:
        limit = int(options.cache.max_decoded_gb * 1e9) // worker.place.count
        worker.kept["scratch"] = Scratch(folder, limit)
    kept: Scratch = worker.kept["scratch"]
    return kept
