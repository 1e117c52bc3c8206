"""`featcache serve` as a user starts and stops it, and what it says where it cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_runs import featcache
from servers import Served, form, noise, run_for


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_for(tmp_path_factory)


@contextmanager
def started(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Served]]:
    """The command in a process of its own, once it says where it listens."""
    command = [sys.executable, "-m", "featcache", "serve", run, "--allow-custom", "--device", "cpu", "-q", *options]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("digits is served at http://127.0.0.1:"), process.communicate()[1]
        yield process, Served(int(line.split()[4].rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()


def test_a_signal_ends_it_once_all_that_was_accepted_is_answered(run: Path) -> None:
    body, kind = form([("slow.png", noise(2))])
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    with (
        started(run, "--port", "0", "--max-wait-ms", "1000") as (process, server),
        ThreadPoolExecutor(2) as pool,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as idle,
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as slow,
    ):
        slow.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert slow.recv(100).startswith(b"HTTP/1.1 100")  # so it is let in, and sends the half of its body
        slow.sendall(body[:500])
        accepted = [pool.submit(server.post, [(f"{n}.png", noise(n))]) for n in range(2)]
        while server.metric("featcache_queue_images") != 2:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        while (late := server.get("/healthz")).status == 200:
            pass
        assert (late.status, late.headers["retry-after"], late.detail) == (503, "1", "The server is stopping.")
        assert server.post([("late.png", noise(3))]).status == 503
        assert [one.result().status for one in accepted] == [200, 200]
        assert process.poll() is None
        slow.sendall(body[500:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        assert process.wait(60) == 0
        assert idle.recv(100) == b""
        assert process.communicate()[1] == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "nothing asks them for a token"),
        (["--host", "192.0.2.1"], "FEATCACHE_TOKEN or --token"),
        (["--host", "some.name"], "nothing asks them for a token"),
        (["--host", "0.0.0.0", "--token", ""], "is empty"),
        (["--token", "ü"], "printable ASCII"),
        (["--host", "192.0.2.1", "--token", "x"], "cannot listen there"),
    ],
)
def test_what_nobody_should_serve_is_refused(run: Path, options: list[str], said: str) -> None:
    result = featcache("serve", run, "--allow-custom", *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_port_that_is_taken_is_said_and_a_run_that_is_not_there(run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = featcache("serve", run, "--allow-custom", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2
    assert "cannot listen there (Address already in use)" in result.stderr
    assert featcache("serve", "best", "--results-dir", tmp_path).exit_code == 2


def test_packages_that_are_missing_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.app.commands.serve.find_spec", lambda name: None if name == "uvicorn" else name)
    result = featcache("serve", run)
    assert result.exit_code == 2
    assert "needs uvicorn" in result.stderr
    assert "pip install 'featcache[serve]'" in result.stderr
