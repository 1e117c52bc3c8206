"""A worker process from its beginning to its end: work comes through a pipe, what it has to say goes back by it.

It prints nothing. Ctrl-C reaches it too, since the terminal tells all; it leaves that to the process that started it,
which ends it in its own time (SIGTERM), and ends by itself where that process is gone.
"""

from __future__ import annotations

import copy
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

from featcache.records import SILENT, Progress
from featcache.workers.messages import Asked, Done, Failed, Found, Message, Said, Went

log = logging.getLogger("featcache")

Function = Callable[..., Any]  # of a module, called with the Worker and what else was given
Piece = tuple[Function, tuple[Any, ...], bool]  # the last: whether its progress is wanted


@dataclass(frozen=True)
class Place:
    """Which of the workers this is, and what it computes with."""

    rank: int
    count: int
    device: str
    threads: int  # of PyTorch's operations on the CPU
    level: int  # of notices that are wanted
    parent: int  # the process that started it


@dataclass
class Worker:
    """What a piece of work knows of the process that it is done in."""

    place: Place
    progress: Progress
    _send: Callable[[Message], None]
    _receive: Callable[[], Any]
    kept: dict[str, Any] = field(default_factory=dict)  # from one piece of work to the next

    def found(self, value: Any) -> None:
        """Hand over a part of the result; waits while nobody takes it."""
        self._send(Found(value))

    def ask(self, value: Any) -> Any:
        """The answer of the process that started this one."""
        self._send(Asked(value))
        return self._receive()

    @property
    def device(self) -> str:
        """The device's name."""
        return self.place.device


def work(number: int, place: Place, pipe: Connection) -> None:
    """The whole life of a worker; `number` is PyTorch's, whose starter is asked for one process at a time."""
    del number
    _heed_signals(place.parent)
    lock = threading.RLock()  # threads that decode have notices too, and a pipe takes one message at a time

    def send(message: Message) -> None:
        with lock:
            pipe.send(message)

    worker, code = begin(place, send, pipe.recv), 0
    try:
        while True:
            send(outcome(worker, pipe.recv()))
    except KeyboardInterrupt:
        code = 128 + signal.SIGTERM
    except (EOFError, OSError):  # the pipe is closed: the work is over, or the process that started this one is gone
        pass
    os._exit(code)  # Python would take seconds to take PyTorch down


def begin(place: Place, send: Callable[[Message], None], receive: Callable[[], Any]) -> Worker:
    """The worker that this process is from here on, its notices sent like what else it says."""
    torch.set_num_threads(place.threads)
    log.handlers, log.propagate = [_Forward(send)], False
    log.setLevel(place.level)
    return Worker(place, SILENT, send, receive)


def outcome(worker: Worker, piece: Piece) -> Done | Failed:
    """What a piece of work comes to."""
    function, arguments, tells = piece
    worker.progress = _ProgressByPipe(worker._send) if tells else SILENT
    try:
        return Done(function(worker, *arguments))
    except Exception as error:
        log.debug("%s: %s", worker.device, error, exc_info=True)
        return Failed.of(error)


class _ProgressByPipe:
    """Progress that is drawn elsewhere."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def whole(self, total: int) -> None:
        """Is told elsewhere."""

    def piece_done(self) -> None:
        """Is told elsewhere."""

    def begin(self, what: str, total: int, unit: str) -> None:
        self._send(Went("begin", (what, total, unit)))

    def advance(self, steps: int, note: str = "") -> None:
        self._send(Went("advance", (steps, note)))

    def end(self, summary: str) -> None:
        self._send(Went("end", (summary,)))


class _Forward(logging.Handler):
    """Notices that are shown elsewhere."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        super().__init__()
        self._send = send
        self._plain = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a notice as text: what it was made of may be anything."""
        said = copy.copy(record)
        said.msg, said.args = self._plain.format(record), None
        said.exc_info = said.exc_text = said.stack_info = None
        self._send(Said(said))


def _heed_signals(parent: int) -> None:
    def end(*_: object) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_IGN)  # what is tidied up now is not interrupted again
        raise KeyboardInterrupt

    def interrupted(*_: object) -> None:
        if os.getppid() != parent:  # PyTorch's starter asks the system for this signal when the parent dies
            end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, interrupted)
