"""Images of many requests go through the network together: decoded by threads, gathered by one, answered each.

An image is inside from the moment it is accepted until it is answered or given up; no more are inside than there are
places, so that nothing grows when more is asked for than can be done.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from featcache.errors import WorkError
from heads.predict import AskedImage, Prediction, Predictor, PreparedImage

log = logging.getLogger("featcache")


class NoRoomError(Exception):
    """More images are waiting already than may; later there will be room."""


@dataclass(frozen=True)
class Neighbour:
    """A training image that is near: its number in the training space, and the distance of its features (0 to 2)."""

    number: int
    distance: float


@dataclass(frozen=True, eq=False)
class Answer:
    """What an image is, and which training images are nearest to it."""

    prediction: Prediction
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A decoded image, and who waits for its answer."""

    prepared: PreparedImage
    neighbours: int
    answer: Future[Answer]


class BatchedPredictor:
    """A predictor for many threads, which tells `seen` how many images each batch had."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        max_batch: int,
        max_wait_s: float,
        places: int,
        seen: Callable[[int], None],
    ) -> None:
        self.predictor, self.places = predictor, places
        self._max_batch, self._max_wait_s, self._seen = max_batch, max_wait_s, seen
        self._lock = threading.Lock()
        self._inside = 0
        self._ready: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()  # never longer than there are places
        self._decoders = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")
        self._worker = threading.Thread(target=self._work, name="predict", daemon=True)
        self._worker.start()

    @property
    def inside(self) -> int:
        """Images that are accepted and not answered yet."""
        return self._inside

    def submit(self, images: Sequence[AskedImage], neighbours: int) -> list[Future[Answer]]:
        """Accept these, or none of them: raises NoRoomError. An answer that is cancelled is not worked on."""
        with self._lock:
            if self._inside + len(images) > self.places:
                raise NoRoomError
            self._inside += len(images)
        answers: list[Future[Answer]] = [Future() for _ in images]
        for image, answer in zip(images, answers, strict=True):
            self._decoders.submit(self._decode, image, neighbours, answer)
        return answers

    def stop(self) -> None:
        """Finish what is decoded, and no more."""
        self._decoders.shutdown(cancel_futures=True)
        self._ready.put(None)
        self._worker.join()

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1

    def _decode(self, image: AskedImage, neighbours: int, answer: Future[Answer]) -> None:
        if answer.cancelled():
            self._leave()
            return
        try:
            prepared = self.predictor.prepare(image)
        except MemoryError:
            prepared = PreparedImage(image, reason="there is not enough memory to decode it")
        except Exception as error:  # whatever it is, it is this image's alone
            log.exception("an image could not be decoded")
            prepared = PreparedImage(image, reason=f"cannot be decoded ({type(error).__name__})")
        if not prepared.reason:
            self._ready.put(_Waiting(prepared, neighbours, answer))
            return
        self._leave()
        if answer.set_running_or_notify_cancel():
            answer.set_result(Answer(Prediction(image, prepared.sha256, reason=prepared.reason)))

    def _work(self) -> None:
        while (first := self._ready.get()) is not None:
            batch = [one for one in self._gather(first) if self._is_wanted(one)]
            if batch:
                self._answer(batch)

    def _gather(self, first: _Waiting) -> list[_Waiting]:
        """What is there, and what comes soon, up to a batch."""
        batch, until = [first], time.monotonic() + self._max_wait_s
        while len(batch) < self._max_batch:
            try:
                one = self._ready.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if one is None:  # the last of all, which the caller waits for
                self._ready.put(None)
                break
            batch.append(one)
        return batch

    def _is_wanted(self, one: _Waiting) -> bool:
        wanted = one.answer.set_running_or_notify_cancel()
        if not wanted:
            self._leave()
        return wanted

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        self._seen(len(batch))
        try:
            predictions = self.predictor.predict_prepared([one.prepared for one in batch])
            answers = [
                Answer(prediction, self._nearest(prediction, one.neighbours))
                for one, prediction in zip(batch, predictions, strict=True)
            ]
        except Exception:  # the next batch may go well
            log.exception("a batch of %d failed", len(batch))
            for one in batch:
                self._leave()
                one.answer.set_exception(WorkError("the model failed; the server's log says why"))
            return
        for one, answer in zip(batch, answers, strict=True):
            self._leave()
            one.answer.set_result(answer)

    def _nearest(self, prediction: Prediction, count: int) -> tuple[Neighbour, ...]:
        """One image at a time: what is beside it in the batch changes nothing."""
        space = self.predictor.space
        if not count or space is None or prediction.features is None:
            return ()
        numbers, distances = space.nearest(prediction.features[None], count)
        return tuple(Neighbour(int(n), float(d)) for n, d in zip(numbers[0], distances[0], strict=True))
