"""The workers of a command on a Ray cluster: started side by side, listened to together, replaced where they die."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from featcache.cluster.ray_library import import_ray
from featcache.cluster.worker_actor import CALLS, WorkerActor
from featcache.cluster.worker_placement import Share
from featcache.counted_nouns import counted
from featcache.errors import WorkError
from featcache.workers import DEATHS, Done, Failed, Job, Lost, Message, Place, Report, Said, Workers

log = logging.getLogger("featcache")

PATIENCE = 600.0  # seconds without any worker: a cluster that grows by itself takes minutes to have a machine
SAID_AFTER = 15.0  # seconds without any worker, after which that is said


class RayWorkers(Workers):
    """`share.workers` actors, which exist from the first work to `close`; Ray is connected as long as that."""

    elastic = True

    def __init__(self, share: Share) -> None:
        self._ray, self._share = import_ray(), share
        self._actors: dict[int, Any] = {}
        self._coming: dict[int, Any] = {}  # by worker: what tells that it is there
        self._where: dict[int, str] = {}
        self._unread: dict[int, Any] = {}  # by worker: what it says next, asked for already
        self._busy: set[int] = set()
        self._abandoned: set[int] = set()
        self._alone_since: float | None = None
        self._unborn = 0  # that died before they were there, since one last was

    @property
    def count(self) -> int:
        """How many there are to be."""
        return self._share.workers

    @property
    def share(self) -> Share:
        """What each has of its machine."""
        return self._share

    def name(self, rank: int) -> str:
        """Its number, and where it is."""
        return f"{rank + 1} of {self.count} ({self._where.get(rank, 'not there yet')})"

    def free(self) -> list[int]:
        """Those that are there and have nothing to do."""
        if not self._actors:
            for rank in range(self.count):
                self._start(rank)
        return [rank for rank in range(self.count) if rank in self._where and rank not in self._busy]

    def give(self, rank: int, job: Job, tells: bool = False) -> None:
        """Hand a worker that has nothing to do its work; what becomes of one that has just died is `next`'s to say."""
        self._busy.add(rank)
        self._actors[rank].work.remote((job.function, job.arguments, tells))

    def answer(self, rank: int, value: Any) -> None:
        """Answer a worker's question."""
        self._actors[rank].answer.remote(value)

    def abandon(self, rank: int) -> None:
        """Listen to it no more until its work is over."""
        self._abandoned.add(rank)

    def next(self, ranks: Collection[int], seconds: float | None = None) -> tuple[int, Report] | None:
        """What one of these workers says next; None where another has come, or after so many `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            heard = self._hear({*ranks, *self._abandoned}, deadline)
            if heard is None:
                return None
            rank, message = heard
            if isinstance(message, Said):
                message.pass_on(rank)
                continue
            if isinstance(message, Done | Failed | Lost):
                self._busy.discard(rank)
            if rank not in self._abandoned:
                return rank, message
            if rank not in self._busy:  # its work, which nobody wants, is over: it can have other work
                self._abandoned.discard(rank)
                return None

    def close(self) -> None:
        """End all at once: what is committed, this process has committed."""
        actors, self._actors = self._actors, {}
        for waiting in (self._coming, self._where, self._unread, self._busy, self._abandoned):
            waiting.clear()
        if self._ray.is_initialized():
            for actor in actors.values():
                self._ray.kill(actor)

    def _start(self, rank: int) -> None:
        """Ask for a worker, which is there once the cluster has room and its process has imported PyTorch."""
        device = "cuda" if self._share.gpus else "cpu"
        place = Place(rank, self.count, device, self._share.cpus, log.getEffectiveLevel(), 0)
        made = self._ray.remote(WorkerActor).options(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            max_concurrency=CALLS,
            max_restarts=0,  # a new one knows nothing of the work: it is given out again, not done again unasked
        )
        self._actors[rank] = made.remote(place, str(Path.cwd()))
        self._coming[rank] = self._actors[rank].where.remote()

    def _hear(self, ranks: Collection[int], deadline: float | None) -> tuple[int, Message | Lost] | None:
        """What comes first: something said, a worker that dies, one that is there (None), or the deadline (None)."""
        while True:
            for rank in ranks:
                if rank in self._where and rank not in self._unread:
                    self._unread[rank] = self._actors[rank].said.remote()
            coming = {ref: rank for rank, ref in self._coming.items()}
            unread = {ref: rank for rank, ref in self._unread.items() if rank in ranks}
            left = SAID_AFTER if deadline is None else max(0.0, min(SAID_AFTER, deadline - time.monotonic()))
            ready, _ = self._ray.wait([*unread, *coming], num_returns=1, timeout=left)
            if ready and ready[0] in unread:
                return self._read(unread[ready[0]])
            if ready:
                self._arrive(coming[ready[0]])
                return None
            if deadline is not None and time.monotonic() >= deadline:
                return None
            self._require_any()

    def _read(self, rank: int) -> tuple[int, Message | Lost]:
        ref = self._unread.pop(rank)
        try:
            message: Message = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            return rank, self._replace(rank, error)
        return rank, message

    def _arrive(self, rank: int) -> None:
        try:
            self._where[rank] = self._ray.get(self._coming.pop(rank))
        except self._ray.exceptions.RayError as error:
            self._require_beginning(error)
            self._replace(rank, error)
            return
        self._alone_since, self._unborn = None, 0
        log.debug("worker %s is there", self.name(rank))

    def _require_beginning(self, error: Exception) -> None:
        """Raise WorkError where a worker cannot begin, rather than having died on the way, as with its machine."""
        self._unborn += 1
        died = isinstance(error, self._ray.exceptions.RayActorError) and not error.actor_init_failed
        if died and self._unborn < DEATHS:
            return
        self.close()
        raise WorkError(
            f"a worker cannot begin on the cluster: {_last_line(error)}. Is the same featcache installed on every "
            "machine, with what it needs? What is committed is kept; run the same command again to go on."
        )

    def _replace(self, rank: int, error: Exception) -> Lost:
        """Another worker in the place of one that is gone; what is to be said of that."""
        why = str(error).strip().splitlines()[0].rstrip(".")
        lost = Lost(f"the worker {self.name(rank)} is gone: {why}")
        log.warning("%s. Its work goes to another", lost.text)
        self._ray.kill(self._actors[rank])  # where it is only out of reach, it is not to come back
        self._where.pop(rank, None)
        self._start(rank)
        return lost

    def _require_any(self) -> None:
        """Raise WorkError where there has been no worker for long; say it sooner."""
        if self._where:
            return
        now = time.monotonic()
        if self._alone_since is None:
            self._alone_since = now
            log.info("waiting for workers to begin, and for room for them: %s each", counted(self._share.cpus, "core"))
        if now - self._alone_since > PATIENCE:
            self.close()
            raise WorkError(
                f"the cluster has had no room for a worker of {self._share.cpus} cores and {self._share.gpus:g} GPUs "
                f"for {PATIENCE / 60:.0f} minutes. What is committed is kept; run the same command again when it has."
            )


def _last_line(error: Exception) -> str:
    """What the worker itself said, after Ray's own words."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__
