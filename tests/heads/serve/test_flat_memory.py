"""A server that has answered ten thousand requests is no larger than one that has answered a thousand."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import Served, noise, run_for, served

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc"),
]

MOST_MB = 30  # that nine thousand requests may add: 3 kB each


def resident_mb() -> float:
    """Of this process, in which the server is; so are its clients."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def ask(server: Served, number: int) -> int:
    """Of ten requests one has several images, one is no image, and one is too large."""
    kind = number % 10
    if kind == 0:
        return server.post([(f"{n}.png", noise(number + n)) for n in range(8)], "?neighbours=5").status
    if kind == 1:
        return server.post([("x.png", b"no image")]).status
    if kind == 2:
        return server.post([("x.png", bytes(300_000))]).status
    return server.post([(f"{number}.png", noise(number))], "?neighbours=5").status


def test_memory_stays_flat_over_ten_thousand_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    with served(run_for(tmp_path_factory), max_mb=0.2) as server, ThreadPoolExecutor(8) as pool:
        sizes, seen = [], set[int]()
        for thousand in range(10):
            numbers = range(1000 * thousand, 1000 * (thousand + 1))
            seen |= set(pool.map(ask, itertools.repeat(server), numbers))
            sizes.append(resident_mb())
            print(f"{1000 * (thousand + 1)} requests: {sizes[-1]:.0f} MB resident", flush=True)
        assert seen == {200, 422, 413}
        assert server.metric("featcache_queue_images") == 0
        assert sizes[-1] - sizes[0] < MOST_MB
