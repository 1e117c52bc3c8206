"""The process that decodes suspect images: functions and their arguments come, within limits, until its maker ends.

It is imported without the room's door, so that it has Pillow and numpy and no torch (guarded_decoding.py starts it).
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from featcache.data.unreadable_image import UnreadableImageError

MEMORY_BYTES = 6 << 30  # 1.4 GB of values at most (featcache/data/pillow_files.py), and what is made of them on the way
OUT_OF_MEMORY = 77  # the exit code


def serve(descriptor: int, memory: int) -> None:
    """Answer what comes over the socket `descriptor` with (True, what a function returned) or (False, what it raised);
    both lie in the file `memory`, and the socket says how long they are: pixels would take their time through it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    importlib.import_module("featcache.data.image_files")  # before the clock of the first image runs
    connection = Connection(descriptor)
    connection.send(True)
    while True:
        try:
            function, arguments, seconds = take(memory, connection.recv())
            _limit_time(seconds)
            try:
                answer = True, function(*arguments)
            except UnreadableImageError as error:
                answer = False, error
            del arguments
            connection.send(put(memory, answer))
            del answer
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except (EOFError, ConnectionError):
            return


def put(memory: int, value: Any) -> int:
    """Write `value` into the file `memory`; how many bytes that is."""
    data = memoryview(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    done = 0
    while done < len(data):  # the kernel takes 2 GiB at once
        done += os.pwrite(memory, data[done:], done)
    return done


def take(memory: int, size: int) -> Any:
    """What `put` wrote, which then takes no memory any more."""
    data = b"".join(_pieces(memory, size))
    os.ftruncate(memory, 0)
    return pickle.loads(data)


def _pieces(memory: int, size: int) -> Iterator[bytes]:
    done = 0
    while done < size:
        piece = os.pread(memory, size - done, done)
        if not piece:
            raise EOFError
        yield piece
        done += len(piece)


def _limit_time(seconds: float) -> None:
    """Where its maker is gone and cannot kill it, the kernel does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 5
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
