"""Image files become blocks of uint8 tensors, by threads or processes, each content once for a command's backbones.

The threads use Pillow and numpy only: a torch operation there would start OpenMP threads of its own, and OpenMP, seeing
more threads than cores, stops spinning between the layers of the forward pass (1.3 times slower, measured).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from featcache.data.augmentations import spec_digest
from featcache.data.content_hashes import ContentNote
from featcache.data.decoded_image import Task, decode_file
from featcache.data.decoded_scratch import Scratch
from featcache.data.decoding_processes import decoded_in_process, forget_processes
from featcache.data.guarded_decoding import DECODE_TIMEOUT_S
from featcache.data.transforms import functional
from featcache.data.unreadable_image import UnreadableImageError
from featcache.options import AugmentationSpec
from featcache.records import Preprocessing, digest

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class Decoded:
    """What became of a task: its views, each uint8 `[3, S, S]`, or why there are none."""

    task: Task
    images: tuple[Tensor, ...] | None
    error: UnreadableImageError | None = None
    note: ContentNote | None = None  # of the file; None where the pixels were at hand and no file was read


class Decoder:
    """Decodes the images of one backbone's input; `seconds` is how long its user waited for it."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        augmentations: Sequence[AugmentationSpec],
        workers: int | None,
        scratch: Scratch | None = None,
        *,
        processes: bool = False,
        timeout_s: float | None = DECODE_TIMEOUT_S,
    ) -> None:
        # A process that may have no children of its own, such as one of several devices, has its own Python anyway.
        self._processes = processes and not multiprocessing.current_process().daemon
        self._timeout_s = timeout_s
        self._preprocessing = preprocessing
        self._augmentations = tuple(augmentations)
        self.workers = workers or os.cpu_count() or 1
        self._scratch = scratch
        self.recipe = _recipe(preprocessing, augmentations)  # what its pixels depend on beside the file
        functional()  # imported here, not while threads decode
        self.seconds = 0.0

    def blocks(self, tasks: Sequence[Task], images: int, multiple: int, ahead: bool) -> Iterator[list[Decoded]]:
        """The tasks in their order, in blocks of about `images` images, their number a multiple of `multiple` where
        that can be had. With `ahead`, the next block is decoded while the last one is used: right where another
        device computes, wrong where decoding and computing would fight for the same cores."""
        with ThreadPoolExecutor(self.workers * (2 if self._processes else 1)) as pool:
            queue: deque[tuple[Task, Future[Decoded]]] = deque()
            remaining = iter(tasks)
            block: list[Decoded] = []
            filled = queued = 0

            def submit() -> None:
                nonlocal queued
                while filled + queued < images * (2 if ahead else 1):
                    task = next(remaining, None)
                    if task is None:
                        return
                    queue.append((task, pool.submit(self.decode, task)))
                    queued += len(task.views)

            begin = time.perf_counter()
            submit()
            try:
                while queue:
                    task, future = queue.popleft()
                    queued -= len(task.views)
                    block.append(_outcome(task, future))
                    filled += len(task.views) if block[-1].images is not None else 0
                    if filled >= images and (filled % multiple == 0 or filled >= 2 * images):
                        self.seconds += time.perf_counter() - begin
                        yield block
                        block, filled, begin = [], 0, time.perf_counter()
                    submit()
                    if not queue and filled % multiple and filled < 2 * images:  # one more, to fill the last shape
                        task_left = next(remaining, None)
                        if task_left is not None:
                            queue.append((task_left, pool.submit(self.decode, task_left)))
                            queued += len(task_left.views)
                self.seconds += time.perf_counter() - begin
                if block:
                    yield block
            finally:
                for _, future in queue:
                    future.cancel()

    def decode(self, task: Task) -> Decoded:
        """The views of one image; raises UnreadableImageError."""
        side = self._preprocessing.input_size
        keys = [f"{self.recipe}{task.sha256}{v}".encode() for v in task.views]
        if self._scratch is not None:
            kept = tuple(p for k in keys if (p := self._scratch.get(k, (side, side, 3))) is not None)
            if len(kept) == len(keys):
                return Decoded(task, tuple(torch.from_numpy(pixels).permute(2, 0, 1) for pixels in kept))
        views, note = self._decoded(task)
        if self._scratch is not None:
            for key, tensor in zip(keys, views, strict=True):
                self._scratch.put(key, tensor.permute(1, 2, 0).numpy())
        return Decoded(task, views, note=note)

    def _decoded(self, task: Task) -> tuple[tuple[Tensor, ...], ContentNote]:
        """By a process, for which this thread waits, or here."""
        if self._processes:
            try:
                pixels, note = decoded_in_process(
                    self.workers, self._preprocessing, self._augmentations, task, self._timeout_s
                )
                return tuple(map(torch.from_numpy, pixels)), note
            except BrokenProcessPool:
                if self._processes:
                    self._processes = False
                    forget_processes()
                    log.warning(
                        "a process that decodes images died (was it killed?): threads go on, with the same rows"
                    )
        return decode_file(task, self._preprocessing, self._augmentations, self._timeout_s)


def _outcome(task: Task, future: Future[Decoded]) -> Decoded:
    try:
        return future.result()
    except UnreadableImageError as error:
        return Decoded(task, None, error)


def _recipe(preprocessing: Preprocessing, augmentations: Sequence[AugmentationSpec]) -> str:
    """What decoded pixels depend on beside the file: mean and std only where views are filled with the mean colour."""
    geometry = asdict(preprocessing)
    if not augmentations:
        del geometry["mean"], geometry["std"]
    return digest([geometry, spec_digest(augmentations)])[:16]
