"""Processes that decode images, where threads would wait for each other's Python: about a third of an image is that.

They are forks of a server that has imported what decoding needs, and of nothing else: no CUDA, no threads. The command
keeps them until it ends. One that dies takes the others with it, and `BrokenProcessPool` is raised for what they had.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing.connection import wait

import numpy as np
from numpy.typing import NDArray

from featcache.data.content_hashes import ContentNote
from featcache.data.decoded_image import Task, decode_file
from featcache.options import AugmentationSpec
from featcache.records import Preprocessing

_LOCK = threading.Lock()  # the first threads come at once, and make the processes once
SERVER = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


Pixels = tuple[tuple[NDArray[np.uint8], ...], ContentNote]  # each view [3, S, S]


def decoded_in_process(
    workers: int,
    preprocessing: Preprocessing,
    augmentations: Sequence[AugmentationSpec],
    task: Task,
    timeout_s: float | None,
) -> Pixels:
    """The views of an image by one of `workers` processes, which is waited for; raises as `decode_file` does, and
    BrokenProcessPool."""
    with _LOCK:
        pool = _processes(workers)
    return pool.submit(_decode, preprocessing, tuple(augmentations), task, timeout_s).result()


def forget_processes() -> None:
    """The next image is given to new ones: for when some have died."""
    _processes.cache_clear()


@cache
def _processes(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context(SERVER)
    if SERVER == "forkserver":
        context.set_forkserver_preload([__name__, "torchvision.transforms.functional", "PIL.JpegImagePlugin"])
    return ProcessPoolExecutor(workers, context, _begin)


def _begin() -> None:
    """Ctrl-C is the command's to handle; when the command is gone, so is this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _decode(
    preprocessing: Preprocessing, augmentations: Sequence[AugmentationSpec], task: Task, timeout_s: float | None
) -> Pixels:
    views, note = decode_file(task, preprocessing, augmentations, timeout_s)
    return tuple(view.numpy() for view in views), note
