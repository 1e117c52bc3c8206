"""A run that is served in a thread of the test, and the ways to ask its server."""

from __future__ import annotations

import http.client
import io
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import done
from conftest import TINY, write_digits
from filelock import FileLock
from PIL import Image

from featcache.session import Session
from heads.runs import load_run_record
from heads.serve import ServeOptions, bind, serving

MARKUP = "<img src=x onerror=alert(1)>"  # a class, which a folder may be called
OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 0,
    "token": None,
    "max_batch": 32,
    "max_wait_ms": 5.0,
    "queue": 64,
    "max_mb": 2.0,
    "timeout_s": 30.0,
    "false_alarms": 0.05,
}


def run_for(factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on digits, one class of which has an awkward name: made once for all test files and
    processes of a test run, to be read only. Beside it are `digits`, `cache` and `results`."""
    own = factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "served run"
    with FileLock(root.with_suffix(".lock")):
        folder = root / "results" / "digits"
        if not folder.exists():
            write_run(root)
    return folder


def write_run(root: Path) -> None:
    """Train it."""
    write_digits(root / "digits", {"train": 12, "val": 5, "test": 4})
    for split in ("train", "val", "test"):
        (root / "digits" / split / "digit 3").rename(root / "digits" / split / MARKUP)
    config = {
        "experiment_name": "digits",
        "model": {"backbone": TINY, "classifier_dims": ["auto", 16, 4], "pretrained": True},
        "data": {"path": str(root / "digits"), "batch_size": 16, "workers": 2},
        "training": {"epochs": 40, "learning_rate": 0.02},
        "cache": {"dir": str(root / "cache"), "batch_size": 8},
        "profile": {"iterations": 2, "warmup": 1},
    }
    (root / "digits.json").write_text(json.dumps(config))
    done("train", root / "digits.json", "--results-dir", root / "results", "--allow-custom", "-q")


def images_of_test(run: Path) -> list[Path]:
    """The run's test images, which the cache knows."""
    return sorted((run.parents[1] / "digits" / "test").glob("*/*"))


def noise(seed: int, side: int = 40) -> bytes:
    """A PNG that no cache knows."""
    return png(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        said: str = self.json["detail"]
        return said


@dataclass(frozen=True)
class Served:
    """A server, by its port on this machine."""

    port: int

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own; in names of headers `_` stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named, encode_chunked=not isinstance(body, bytes | str | None))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, images: Sequence[tuple[str, bytes]], query: str = "", **headers: str) -> Reply:
        """Images as files of a form."""
        body, kind = form(images)
        return self.ask("POST", f"/predict{query}", body, Content_Type=kind, **headers)

    def post_json(self, document: Any, query: str = "") -> Reply:
        return self.ask("POST", f"/predict{query}", json.dumps(document).encode(), Content_Type="application/json")

    def metric(self, name: str) -> float:
        """The value of one line of /metrics; 0 where it is not there yet."""
        lines = self.get("/metrics").body.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)


def form(images: Sequence[tuple[str, bytes]], field: str = "images") -> tuple[bytes, str]:
    """A body of multipart/form-data, and its type."""
    edge = b"--an-edge-between-parts"
    parts = [
        edge
        + f'\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + data
        + b"\r\n"
        for name, data in images
    ]
    return b"".join(parts) + edge + b"--\r\n", "multipart/form-data; boundary=an-edge-between-parts"


@contextmanager
def served(run: Path, **options: Any) -> Iterator[Served]:
    """A server of the run, on a free port of this machine, for as long as the block lasts."""
    chosen = ServeOptions(**{**OPTIONS, **options})
    session = Session.begin("cpu", allow_custom=True)
    one, address = bind(chosen)
    with serving(load_run_record(run), session, chosen) as server:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [one]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(int(address.rpartition(":")[2]))
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()
