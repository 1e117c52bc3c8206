"""The peak memory of a block of code, on a GPU or in the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from featcache.devices import read_lines


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives a function that tells the peak in bytes once the block is over.

    On a GPU the allocator counts; on a CPU the resident memory is sampled, since the system's own high-water mark
    would be an earlier backbone's.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_allocated(device))
        return
    samples = [_resident_bytes()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            samples.append(_resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(samples)
    finally:
        done.set()
        watcher.join()


def _resident_bytes() -> int:
    for line in read_lines(Path("/proc/self/status")):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # no /proc: the best there is
    return peak if sys.platform == "darwin" else peak * 1024
