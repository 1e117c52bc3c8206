"""A worker of a cluster: a Ray actor that does one piece of work at a time, and says what it has to say when asked.

Three threads of its process serve Ray's calls: one works, one waits for what it has to say, one brings answers. What is
not fetched waits, and the work with it, so that no worker runs ahead of those who listen to it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
from dataclasses import replace
from typing import Any

import torch

from featcache.workers import Message, Piece, Place, begin, outcome

CALLS = 4  # at once: the work, what it says, an answer, and one to spare
UNHEARD = 2  # messages that wait before the work does


class WorkerActor:
    """The whole life of a worker; Ray makes one in a process of its own."""

    def __init__(self, place: Place, folder: str) -> None:
        with contextlib.suppress(OSError):  # relative paths are then not seen, which is said of the first of them
            os.chdir(folder)
        if place.device == "cuda":
            torch.empty(1, device="cuda")  # fails here, and not in the middle of the work
        self._said: queue.Queue[Message] = queue.Queue(UNHEARD)
        self._answers: queue.Queue[Any] = queue.Queue()
        self._worker = begin(replace(place, parent=os.getppid()), self._said.put, self._answers.get)

    def where(self) -> str:
        """The machine's name and the process's number, once it is there."""
        return f"{socket.gethostname()}, process {os.getpid()}"

    def work(self, piece: Piece) -> None:
        """Do it; what it comes to is the last thing said of it."""
        self._said.put(outcome(self._worker, piece))

    def said(self) -> Message:
        """What there is to say next; waits for it."""
        return self._said.get()

    def answer(self, value: Any) -> None:
        """The answer to what it asked."""
        self._answers.put(value)
