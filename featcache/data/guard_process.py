"""The process that decodes suspect images: functions and their arguments come, within limits, until its maker ends.

It is imported without the room's door, so that it has Pillow and numpy and no torch (guarded_decoding.py starts it).
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
from multiprocessing.connection import Connection
from typing import Any

from featcache.data.unreadable_image import UnreadableImageError

MEMORY_BYTES = 6 << 30  # 1.4 GB of values at most (featcache/data/pillow_files.py), and what is made of them on the way
KEPT_BYTES = 64 << 20  # of the file that both write into: new pages for each image would cost more than their copies
OUT_OF_MEMORY = 77  # the exit code


def serve(descriptor: int, memory: int) -> None:
    """Answer what comes over the socket `descriptor` with (True, what a function returned) or (False, what it raised);
    both lie in the file `memory`, and the socket says when: pixels would take their time through it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    importlib.import_module("featcache.data.image_files")  # before the clock of the first image runs
    connection = Connection(descriptor)
    connection.send(True)
    while True:
        try:
            connection.recv()
            function, arguments, seconds = take(memory)
            _limit_time(seconds)
            try:
                answer = True, function(*arguments)
            except UnreadableImageError as error:
                answer = False, error
            del arguments
            put(memory, answer)
            connection.send(True)
            del answer
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except (EOFError, ConnectionError):
            return


def put(memory: int, value: Any) -> None:
    """Write `value` into the file `memory`. Pixels are copied once, into pages that are there
    from the last image."""
    with open(memory, "r+b", closefd=False) as file:
        file.seek(0)
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)


def take(memory: int) -> Any:
    """What `put` wrote; of its memory no more than KEPT_BYTES stay in use."""
    with open(memory, "rb", closefd=False) as file:
        file.seek(0)
        value = pickle.load(file)
    if os.fstat(memory).st_size > KEPT_BYTES:
        os.ftruncate(memory, 0)
    return value


def _limit_time(seconds: float) -> None:
    """Where its maker is gone and cannot kill it, the kernel does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
