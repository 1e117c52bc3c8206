"""The missing images of one or several stores extracted by elastic workers, range by range, whatever becomes of them.

A range is a few hundred images of one backbone. It is given out again where its worker is gone or slow; as a row does
not depend on who computes it, the first that comes counts. Here is the one writer of each store, and rows are written
in the images' own order: the file is that of one machine.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from featcache.counted_nouns import counted
from featcache.data import Task, look_for_truncated
from featcache.errors import FeatcacheError, InputError
from featcache.extraction.inference import Inference
from featcache.extraction.range_queue import Range, RangeQueue
from featcache.extraction.row_extraction import BLOCK_IMAGES, Rate, decoded_blocks, features_of, note_rate
from featcache.extraction.spread_rows import (
    Outcome,
    ShareSetup,
    append_outcomes,
    kept_scratch,
    make_decoder,
    make_inference,
    search,
)
from featcache.extraction.store_fill import StoreFill
from featcache.session import Session
from featcache.store import RowWriter
from featcache.workers import DEATHS, Done, Failed, Job, Lost, Worker, too_many_deaths

log = logging.getLogger("featcache")

BLOCKS = 4  # of images in the largest range: its rows are one message
RANGES = 8  # for each worker, where there are images enough: who is faster takes more of them
TICK = 0.2  # seconds between looks for what is late, at least


@dataclass
class Filling:
    """A store on the way to being filled."""

    fill: StoreFill
    tasks: Sequence[Task]
    writer: RowWriter
    setup: ShareSetup
    rates: dict[int, Rate] = field(default_factory=dict)  # by worker
    new: int = 0  # images that have rows now
    error: FeatcacheError | None = None

    @classmethod
    def of(cls, fill: StoreFill, tasks: Sequence[Task], writer: RowWriter, session: Session) -> Filling:
        """One that begins."""
        searched = writer.extraction.setdefault("searched", {})
        setup = ShareSetup(fill.options, fill.store.info.identity, session.allow_custom, searched)
        return cls(fill, tasks, writer, setup)

    def take_in(self, rank: int, delivered: Delivered) -> None:
        """Hand the rows of a range to the writer."""
        self.new += append_outcomes(delivered.outcomes, self.fill, self.writer)
        known = self.rates.get(rank)
        self.rates[rank] = delivered.rate if known is None else known.plus(delivered.rate)

    def finish(self) -> Rate | None:
        """Note how fast it was: what all workers did, in the time of the slowest."""
        if not self.rates:
            return None
        slowest = max(self.rates.values(), key=lambda rate: rate.seconds)
        rate = replace(slowest, images=sum(one.images for one in self.rates.values()))
        note_rate(self.writer, rate)
        return rate


@dataclass(frozen=True)
class Delivered:
    """What came of a range."""

    outcomes: list[Outcome]
    rate: Rate


def extract_ranges(fill: StoreFill, tasks: Sequence[Task], writer: RowWriter, session: Session) -> int:
    """`extract_rows` over the session's elastic workers; raises WorkError too when three workers die at the same
    range: what is committed by then is kept."""
    workers = session.workers
    assert workers is not None
    filling = Filling.of(fill, tasks, writer, session)
    session.progress.begin(f"{fill.backbone} on {counted(workers.count, 'worker')}", len(tasks), "img")
    try:
        with workers.closing_on_error():
            search(filling.setup, workers)
            _go_round([filling], session)
            if filling.error is not None:
                raise filling.error
    finally:
        fill.memo.save()
    rate = filling.finish()
    speed = f", {rate.images_per_second:.0f} img/s" if rate is not None else ""
    session.progress.end(f"{counted(filling.new, 'image')} extracted{speed}")
    return filling.new


def fill_in_ranges(fills: Sequence[StoreFill], session: Session) -> None:
    """Fill several stores at once; what one of them lacks in the end is tried again, and said, when its turn comes."""
    workers = session.workers
    assert workers is not None
    if len(fills) < 2:
        return
    with ExitStack() as stack:
        fillings = [one for fill in fills if (one := stack.enter_context(_begun(fill, session))) is not None]
        what = f"{counted(len(fillings), 'backbone')} on {counted(workers.count, 'worker')}"
        session.progress.begin(what, sum(len(one.tasks) for one in fillings), "img")
        with workers.closing_on_error():
            for one in fillings:
                search(one.setup, workers)
            _go_round(fillings, session)
        failed = [one for one in fillings if one.error is not None]
        session.progress.end(f"{counted(len(fillings) - len(failed), 'backbone')} extracted")


@contextmanager
def _begun(fill: StoreFill, session: Session) -> Iterator[Filling | None]:
    """A store that is written in the block; None where another process has just filled it."""
    fill.store.hold()
    look_for_truncated(fill.manifest, fill.memo, fill.options.data, fill.store.rows())
    with fill.store.writing(log.warning) as writer:
        tasks = fill.missing()
        filling = Filling.of(fill, tasks, writer, session) if tasks else None
        try:
            yield filling
        finally:
            fill.memo.save()
        if filling is not None:
            filling.finish()


def _go_round(fillings: Sequence[Filling], session: Session) -> None:
    """Give out ranges and take in rows until all are there."""
    workers = session.workers
    assert workers is not None
    queue = RangeQueue([len(one.tasks) for one in fillings], workers.count, _images_a_range(fillings, workers.count))
    deaths: Counter[Range] = Counter()
    while not queue.over:
        for rank in workers.free():
            if (taken := queue.take(rank)) is not None:
                one = fillings[taken.store]
                workers.give(rank, Job(extract_range, (one.setup, one.tasks[taken.start : taken.stop])))
        late_in = queue.late_in if workers.free() else None
        heard = workers.next(queue.at_work, None if late_in is None else max(TICK, late_in))
        if heard is None:
            continue
        rank, message = heard
        unwanted: list[int] = []
        if isinstance(message, Lost):
            lost = queue.lose(rank)
            deaths[lost] += 1
            if deaths[lost] == DEATHS:
                raise too_many_deaths(message)
        elif isinstance(message, Failed):
            store = queue.store_of(rank)
            fillings[store].error = message.kind(f"{message.text} (So says the worker {workers.name(rank)}.)")
            log.debug("%s: %s", fillings[store].fill.backbone, message.text)
            unwanted = queue.drop(store, rank)
        elif isinstance(message, Done):
            delivered, unwanted = queue.deliver(rank, (rank, message.value))
            _write(fillings[delivered.store], queue.writable(delivered.store), session)
        for other in unwanted:
            workers.abandon(other)


def _write(filling: Filling, found: Sequence[tuple[int, Delivered]], session: Session) -> None:
    for rank, delivered in found:
        filling.take_in(rank, delivered)
        session.progress.advance(len(delivered.outcomes), f"{filling.fill.backbone}, {filling.new} new")


def _images_a_range(fillings: Sequence[Filling], workers: int) -> int:
    """Few enough that all workers have work until the end, and a whole number of blocks of views."""
    views = max((len(task.views) for one in fillings for task in one.tasks), default=1)
    block = -(-BLOCK_IMAGES // views)
    fair = -(-sum(len(one.tasks) for one in fillings) // (workers * RANGES))
    return block * min(BLOCKS, -(-fair // block))


def extract_range(worker: Worker, setup: ShareSetup, tasks: Sequence[Task]) -> Delivered:
    """In a worker: an Outcome for each task, in their order."""
    require_seen(tasks)
    infer = _kept_inference(worker, setup)
    before, images = infer.seconds, 0
    threads = setup.options.data.workers or worker.place.threads
    data = setup.options.data.model_copy(update={"workers": threads})
    setup = replace(setup, options=setup.options.model_copy(update={"data": data}))
    # On a disk of this machine: the cache may lie in a folder that many machines share.
    decoder = make_decoder(setup, kept_scratch(worker, setup.options, Path(tempfile.gettempdir())))
    found: dict[str, Outcome] = {}
    for block in decoded_blocks(decoder, tasks, infer):
        known = {one.task.sha256: replace(one, images=None if one.images is None else ()) for one in block}
        found |= {sha256: Outcome(one, None) for sha256, one in known.items()}
        readable = [(one.task, one.images) for one in block if one.images is not None]
        for finished in features_of(infer, readable):
            images += sum(len(rows) for _, rows in finished)
            found |= {task.sha256: Outcome(known[task.sha256], rows.numpy()) for task, rows in finished}
    rate = Rate.of(images, decoder, infer, setup.identity.precision)
    return Delivered([found[task.sha256] for task in tasks], replace(rate, forward_seconds=infer.seconds - before))


def _kept_inference(worker: Worker, setup: ShareSetup) -> Inference:
    """The network, loaded once for all ranges of its backbone."""
    cache = setup.options.cache
    key = (setup.identity, cache.batch_size, cache.compile)
    if "inference" not in worker.kept or worker.kept["inference"][0] != key:
        worker.kept.pop("inference", None)  # first, so that two never need memory at once
        worker.kept["inference"] = key, make_inference(worker, setup)
    kept: Inference = worker.kept["inference"][1]
    return kept


def require_seen(tasks: Sequence[Task]) -> None:
    """Raise InputError where this machine does not see the files that the process that gives out the work has listed:
    else they would count as unreadable."""
    paths = [Path(container) for task in tasks if (container := task.place.position[0])]
    if not paths or any(path.exists() for path in paths):
        return
    if len(paths) > 1 or not paths[0].parent.exists():
        raise InputError(
            f"{paths[0]}: cannot be seen by a worker. Images, weights and code of one's own must lie where every "
            "machine of the cluster has them under the same path, such as a shared folder: is it mounted there?"
        )
