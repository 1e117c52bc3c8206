"""How many images a second `featcache serve` answers, and how soon: `bin/bench serve`.

The command in a process of its own, on a run of 128 photographs with seeded random weights; its clients, each with one
connection that it keeps, post one photograph after the other, none of which the cache knows. What is printed are
requests a second, the median and the 99th percentile of their latency, all that was not answered with 200, and the
server's resident memory afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that tests share

import numpy as np
from command_runs import done
from figures import figure
from photographs import machine, write_photographs
from servers import form

TRAINED, SENT = 128, 64  # photographs


def main() -> None:
    """A line for each number of clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of clients")
    parser.add_argument(
        "--serve", nargs=argparse.REMAINDER, default=[], help="options of featcache serve; the last one"
    )
    arguments = parser.parse_args()
    print(f"{machine()}\n{arguments.backbone}, photographs of 500 x 375, one each request\n")
    print("| clients | requests/s | p50 ms | p99 ms | images a batch | errors | resident MB |")
    print("|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    with TemporaryDirectory() as folder:
        bodies = make_run(Path(folder), arguments.backbone)
        with started(Path(folder), arguments.serve) as (process, port):
            asyncio.run(load(port, bodies, 1, 2.0))  # what is slow the first time
            for clients in arguments.clients:
                before = batches(port)
                latencies, errors, seconds = asyncio.run(load(port, bodies, clients, arguments.seconds))
                passes = batches(port) - before
                tell(clients, latencies, errors, seconds, passes, resident_mb(process.pid))


def tell(clients: int, latencies: Sequence[float], errors: int, seconds: float, passes: float, resident: float) -> None:
    """One row."""
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    rate = len(latencies) / seconds
    figure(f"serve, {clients} clients", [rate], "requests/s")
    figure(f"serve, {clients} clients, p99", [p99], "ms")
    row = (clients, f"{rate:.1f}", f"{p50:.0f}", f"{p99:.0f}", f"{len(latencies) / passes:.1f}", errors, int(resident))
    print(f"| {' | '.join(map(str, row))} |", flush=True)


def make_run(root: Path, backbone: str) -> list[bytes]:
    """A run in `root`, and requests with photographs that it does not know."""
    write_photographs(root / "data", TRAINED + SENT)
    sent = sorted((root / "data").rglob("*.jpg"), key=lambda file: file.name)[TRAINED:]
    requests = [request(file.name, file.read_bytes()) for file in sent]
    for file in sent:
        file.unlink()
    config = {
        "experiment_name": "served",
        "model": {"backbone": backbone, "classifier_dims": ["auto", 64, "auto"], "pretrained": False},
        "data": {"path": str(root / "data")},
        "training": {"epochs": 2},
        "cache": {"dir": str(root / "cache")},
        "profile": {"iterations": 3, "warmup": 1},
    }
    (root / "served.json").write_text(json.dumps(config))
    done("train", root / "served.json", "--results-dir", root / "results", "-q")
    return requests


def request(name: str, data: bytes) -> bytes:
    """One whole request."""
    body, kind = form([(name, data)])
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def started(root: Path, options: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server, and its port."""
    command = [sys.executable, "-m", "featcache", "serve", str(root / "results" / "served"), "--port", "0", *options]
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[4]
        yield process, int(address.rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(60)


async def load(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> tuple[list[float], int, float]:
    """Latencies (s) of the requests that were answered with 200, how many were not, and how long it took."""
    end, given = time.perf_counter() + seconds, itertools.cycle(bodies)
    latencies: list[float] = []
    errors = 0

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            begin = time.perf_counter()
            writer.write(next(given))
            status, _ = await answer(reader)
            if status == 200:
                latencies.append(time.perf_counter() - begin)
            else:
                errors += 1
        writer.close()
        await writer.wait_closed()

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return latencies, errors, time.perf_counter() - begin


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer, which says how long it is."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].split()[0])
    return int(head.split()[1]), await reader.readexactly(length)


def batches(port: int) -> float:
    """How many batches there have been."""

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = (await answer(reader))[1]
        writer.close()
        await writer.wait_closed()
        return found

    lines = asyncio.run(ask()).decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("featcache_batch_images_count"))


def resident_mb(pid: int) -> float:
    """Of another process; 0 where the system does not say."""
    status = Path(f"/proc/{pid}/status")
    return int(status.read_text().partition("VmRSS:")[2].split()[0]) / 1000 if status.exists() else 0.0


if __name__ == "__main__":
    main()
