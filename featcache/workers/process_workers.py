"""The worker processes of a command, one for each device: started when there is work, ended with the command.

PyTorch starts them (`torch.multiprocessing`, by `spawn`: CUDA allows no other way). Each has a pipe of its own, so that
one that is killed takes no lock with it. When one of them dies, all are ended; the next work starts new ones.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.multiprocessing.spawn import start_processes

from featcache.errors import WorkError
from featcache.workers.messages import Done, Failed, Message, Said
from featcache.workers.worker_group import Job, Report, Workers
from featcache.workers.worker_process import Place, work

log = logging.getLogger("featcache")

GRACE_SECONDS = 10.0  # to commit what is done, before a worker that is told to end is killed


class ProcessWorkers(Workers):
    """One process for each of `devices`; whoever makes it closes it."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.devices = tuple(devices)
        self._pipes: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._busy: set[int] = set()

    @property
    def count(self) -> int:
        """How many."""
        return len(self.devices)

    def free(self) -> list[int]:
        """Those that have nothing to do."""
        self._start()
        return [rank for rank in range(self.count) if rank not in self._busy]

    def name(self, rank: int) -> str:
        """What a worker is called: its device, and its number where several have the same."""
        device = str(self.devices[rank])
        return device if self.devices.count(self.devices[rank]) == 1 else f"{device} ({rank + 1} of {self.count})"

    def give(self, rank: int, job: Job, tells: bool = False) -> None:
        """Hand a worker that has nothing to do its work; it `tells` its progress if asked to."""
        self._start()
        self._busy.add(rank)
        self._send(rank, (job.function, job.arguments, tells))

    def answer(self, rank: int, value: Any) -> None:
        """Answer a worker's question."""
        self._send(rank, value)

    def next(self, ranks: Collection[int], seconds: float | None = None) -> tuple[int, Report]:
        """What one of these workers says next, however long that takes. Raises WorkError, and ends all, when any worker
        has died."""
        del seconds
        while True:
            pipes = {self._pipes[rank]: rank for rank in ranks}
            ready = wait([*pipes, *(p.sentinel for p in self._processes)])
            rank = next((pipes[one] for one in ready if isinstance(one, Connection) and one in pipes), None)
            if rank is None:
                raise self._died(next(r for r, p in enumerate(self._processes) if p.sentinel in ready))
            try:
                message: Message = self._pipes[rank].recv()
            except (EOFError, OSError):
                raise self._died(rank) from None
            if isinstance(message, Done | Failed):
                self._busy.discard(rank)
            if not isinstance(message, Said):
                return rank, message
            message.pass_on(rank)

    def close(self) -> None:
        """End all; nothing is left behind, whatever they do. Those at work are told to, and commit what is done."""
        pipes, processes, busy = self._pipes, self._processes, self._busy
        self._pipes, self._processes, self._busy = [], [], set()
        for pipe in pipes:
            pipe.close()  # who waits for work ends
        deadline = time.monotonic() + GRACE_SECONDS
        for rank in busy:
            if processes[rank].is_alive():
                processes[rank].terminate()
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
            process.close()

    def _start(self) -> None:
        if self._processes:
            return
        threads = torch.get_num_threads()
        if self.devices[0].type == "cpu":
            threads = max(1, threads // self.count)  # they share the cores
        log.debug("%d worker processes: %s", self.count, ", ".join(map(str, self.devices)))
        with _interrupts_ignored():  # and so by what is started here, until it can heed them
            for rank, device in enumerate(self.devices):
                place = Place(rank, self.count, str(device), threads, log.getEffectiveLevel(), os.getpid())
                mine, theirs = Pipe()
                context = start_processes(work, (place, theirs), nprocs=1, join=False, daemon=True)
                theirs.close()
                self._pipes.append(mine)
                self._processes += context.processes

    def _send(self, rank: int, value: Any) -> None:
        try:
            self._pipes[rank].send(value)
        except OSError:
            raise self._died(rank) from None

    def failure(self) -> WorkError | None:
        """Of a failure: whether it came of the death of another, which is told of a moment later."""
        dead = wait([p.sentinel for p in self._processes], timeout=1.0)
        return self._died(next(r for r, p in enumerate(self._processes) if p.sentinel in dead)) if dead else None

    def _died(self, rank: int) -> WorkError:
        """What to say of a worker that is gone; the others are ended."""
        process = self._processes[rank]
        process.join(GRACE_SECONDS)
        code, name = process.exitcode, self.name(rank)
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name
        hint = " (as the system does where memory is short)" if code == -signal.SIGKILL else ""
        self.close()
        return WorkError(
            f"the worker process of {name} has died: {how}{hint}. The others were ended too. What is committed is "
            "kept; run the same command again to go on from there."
        )


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl-C waits, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
