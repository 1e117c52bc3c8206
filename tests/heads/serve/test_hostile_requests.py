"""What a server says to requests that are broken, too large, too many, too slow or of strangers; it goes on."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from servers import Served, form, noise, png, run_for, served

from heads.predict import Predictor

FORM = "multipart/form-data; boundary=an-edge-between-parts"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_for(tmp_path_factory)


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Served]:
    with served(run, queue=16) as one:
        yield one


@pytest.fixture(autouse=True)
def _goes_on(server: Served) -> Iterator[None]:
    """After every test of this file the server answers as before, and nothing is left inside."""
    yield
    assert server.post([("a.png", noise(0))]).status == 200
    assert server.metric("featcache_queue_images") == 0


def header_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is as large as this, and whose pixels, all black, are there as far as any
    decoder will ask before it has had enough."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def torn_jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 3]


UPLOADS: dict[str, tuple[Callable[[], bytes], str]] = {
    "of huge dimensions": (lambda: header_of(50_000, 50_000), "2500000000 pixels) exceeds limit of 178956970"),
    "of absurd dimensions": (lambda: header_of(2**31 - 1, 2**31 - 1), "exceeds limit of 178956970"),
    "too narrow": (lambda: header_of(100_000, 1), "too narrow a strip"),
    "with less than its header says": (lambda: header_of(9_000, 9_000), "truncated"),
    "torn": (torn_jpeg, "truncated or damaged"),
    "empty": (lambda: b"", "empty file"),
    "text": (lambda: b"<svg onload=alert(1)>", "not an image"),
    "zip": (lambda: b"PK\x03\x04" + bytes(100), "not an image"),
    "random": (lambda: np.random.default_rng(0).bytes(5_000), "not an image"),
    "png of zeros": (lambda: png(np.zeros((8, 8), np.uint8))[:-30] + bytes(30), ""),
}


@pytest.mark.parametrize("what", UPLOADS)
def test_an_upload_that_is_no_image_is_422_with_its_reason(server: Served, what: str) -> None:
    make, said = UPLOADS[what]
    reply = server.post([("x.png", make())])
    assert reply.status == 422
    assert said in reply.detail
    assert reply.json["images"][0]["error"] == reply.detail


def json_of(*images: Any, **more: Any) -> bytes:
    return json.dumps({"images": list(images), **more}).encode()


JSON = "application/json"
BODIES: dict[str, tuple[bytes | str, str, int, str]] = {
    "no JSON": (b"{images", JSON, 400, "no JSON"),
    "JSON that is not UTF-8": (b'{"images": "\xff"}', JSON, 400, "no JSON"),
    "JSON that is very deep": (b"[" * 100_000, JSON, 400, "no JSON"),
    "JSON of another form": (b"[]", JSON, 422, "Expected"),
    "no images in JSON": (json_of(), JSON, 422, "no image"),
    "a path": (json_of({"name": "a", "path": "/etc/passwd"}), JSON, 422, "Expected"),
    "an address": (json_of({"data": "http://localhost/a.png"}), JSON, 422, "base64"),
    "data of another type": (json_of({"data": 1}), JSON, 422, "images.0.data"),
    "bad base64": (json_of({"name": "a", "data": "%%%"}), JSON, 422, "base64 cannot be read"),
    "base64 beyond ASCII": (json_of({"name": "a", "data": "ä"}), JSON, 422, "base64 cannot be read"),
    "base64 of no image": (json_of({"name": "a", "data": "QUJD"}), JSON, 422, "not an image"),
    "too many in JSON": (json_of(*[{"data": ""}] * 17), JSON, 413, "more than 16 images"),
    "too many files": (form([(f"{n}.png", b"x") for n in range(17)])[0], FORM, 413, "more than 16 images"),
    "no files": (b"--an-edge-between-parts--\r\n", FORM, 422, "no image"),
    "a form without an edge": (b"x", "multipart/form-data", 400, "names no boundary"),
    "a broken form": (b"something else", FORM, 400, "cannot be read"),
    "a form that breaks off": (form([("a.png", noise(0))])[0][:900], FORM, 400, "breaks off"),
    "a form that breaks off after a file": (
        form([("a.png", noise(0)), ("b.png", noise(1))])[0][:-900],
        *(FORM, 400, "breaks off"),
    ),
    "a field that is no file": (
        b'--an-edge-between-parts\r\nContent-Disposition: form-data; name="url"\r\n\r\nhttp://x\r\n'
        b"--an-edge-between-parts--\r\n",
        *(FORM, 400, "no file"),
    ),
    "a bare image": (noise(0), "image/png", 415, "expected multipart/form-data or application/json"),
    "nothing": (b"", "", 415, "(none)"),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_wrong_is_4xx_with_its_reason(server: Served, what: str) -> None:
    body, kind, status, said = BODIES[what]
    reply = server.ask("POST", "/predict", body, Content_Type=kind)
    assert (reply.status, said in reply.detail) == (status, True), reply.body


def test_what_is_asked_for_must_make_sense(server: Served) -> None:
    for query in ("?top=0", "?top=x", "?neighbours=-1", "?neighbours=21"):
        reply = server.post([("a.png", noise(0))], query)
        assert (reply.status, reply.detail.partition(":")[0]) == (422, query[1:].partition("=")[0])
    assert server.get("/predict").status == 405
    names = ["../../etc/passwd", "a" * 600, "ü", ""]
    found = server.post([(name, noise(0)) for name in names]).json["images"]
    assert [one["error"] for one in found] == [None] * 4
    assert [one["image"] for one in found] == [names[0], "a" * 255, "ü", "image"]


def pieces(size: int) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    for _ in range(size // 100_000):
        yield bytes(100_000)


def test_what_is_too_large_is_413_whether_it_says_so_or_not(server: Served) -> None:
    said = "larger than 2 MB (--max-mb)"
    for large in (server.post([("a.png", bytes(2_000_001))]), server.post([("a.png", bytes(100_000_000))])):
        assert (large.status, said in large.detail) == (413, True)
    chunked = server.ask("POST", "/predict", pieces(5_000_000), Content_Type=FORM)
    assert (chunked.status, said in chunked.detail) == (413, True)


def test_what_waits_to_be_asked_for_is_refused_before_it_is_sent(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + FORM.encode() + b"\r\n"
            b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def test_garbage_is_no_request(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01" + bytes(100) + b"\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The network waits until this is set."""
    going, real = threading.Event(), Predictor.predict_prepared

    def held_back(self: Predictor, prepared: Any) -> Any:
        assert going.wait(60)
        return real(self, prepared)

    monkeypatch.setattr(Predictor, "predict_prepared", held_back)
    yield going
    going.set()


def wait_for(server: Served, images: int) -> None:
    while server.metric("featcache_queue_images") != images:
        pass


def test_a_full_queue_is_503_until_there_is_room_again(run: Path, held: threading.Event) -> None:
    with served(run, queue=3) as full, ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(full.post, [("a.png", noise(1)), ("b.png", noise(2))])
        wait_for(full, 2)
        refused = full.post([("c.png", noise(3)), ("d.png", noise(4))])
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        last = pool.submit(full.post, [("e.png", noise(5))])  # there is room for one more
        wait_for(full, 3)
        assert full.post([("f.png", noise(6))]).status == 503
        assert full.get("/healthz").status == 200
        held.set()
        assert [waiting.result().status, last.result().status] == [200, 200]
        assert full.post([("c.png", noise(3)), ("d.png", noise(4))]).status == 200


def test_bodies_take_no_more_memory_than_there_is_room_for(run: Path, held: threading.Event) -> None:
    with served(run, max_mb=0.07) as small, ThreadPoolExecutor(17) as pool:
        waiting = [pool.submit(small.post, [(f"{n}.png", noise(n))]) for n in range(17)]  # a request counts 65 kB
        wait_for(small, 17)
        assert small.post([("a.png", noise(1))]).status == 503
        held.set()
        assert {one.result().status for one in waiting} == {200}


def test_an_answer_that_takes_too_long_is_504_and_is_not_worked_on(run: Path, held: threading.Event) -> None:
    with served(run, timeout_s=0.5) as slow, ThreadPoolExecutor(2) as pool:
        late = list(pool.map(lambda n: slow.post([(f"{n}.png", noise(n))]), range(2)))
        assert [one.status for one in late] == [504, 504]
        assert "0.5 s (--timeout-s)" in late[0].detail
        held.set()
        wait_for(slow, 0)
        assert slow.post([("a.png", noise(1))]).status == 200


def test_a_request_that_does_not_arrive_in_time_is_408(run: Path) -> None:
    with served(run, timeout_s=0.3) as slow:
        with socket.create_connection(("127.0.0.1", slow.port), timeout=60) as raw:
            raw.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + FORM.encode() + b"\r\n"
                b"Content-Length: 1000\r\n\r\n--an-edge"
            )
            assert raw.recv(100).startswith(b"HTTP/1.1 408")
        with socket.create_connection(("127.0.0.1", slow.port), timeout=60) as raw:  # who hangs up on the way
            raw.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + FORM.encode() + b"\r\n")
            raw.sendall(b"Content-Length: 1000\r\n\r\n--an-edge")
        assert slow.post([("a.png", noise(1))]).status == 200


def statuses(server: Served, paths: tuple[str, ...], **headers: str) -> list[int]:
    def status(path: str) -> int:
        if path == "/predict":
            return server.post([("a.png", noise(0))], **headers).status
        return server.get(path, **headers).status

    return [status(path) for path in paths]


def test_with_a_token_only_who_brings_it_is_answered(run: Path) -> None:
    guarded = ("/predict", "/metrics", "/openapi.json", "/neighbours/0.jpg", "/nothing")
    with served(run, token="a secret") as server:
        for wrong in ({}, {"Authorization": "Bearer a secre"}, {"Authorization": "Basic a secret"}):
            assert statuses(server, guarded, **wrong) == [401] * 5
        assert statuses(server, guarded, Authorization="Bearer a secret") == [200, 200, 200, 200, 404]
        assert statuses(server, ("/", "/healthz")) == [200, 200]
        assert server.get("/healthz").json == {"status": "ok", "run": ""}
        assert b"digits" not in server.get("/").body
        assert server.get("/metrics").headers["www-authenticate"] == "Bearer"


def test_only_names_of_this_machine_are_answered_and_no_other_site(server: Served) -> None:
    own = (f"localhost:{server.port}", "127.0.0.1", f"[::1]:{server.port}", "LOCALHOST")
    for host in own:
        assert statuses(server, ("/", "/predict", "/healthz"), Host=host) == [200] * 3
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "", "[::1", "localhost@evil"):
        assert statuses(server, ("/", "/predict", "/healthz"), Host=host) == [421] * 3
    host = f"127.0.0.1:{server.port}"
    for origin, status in ((f"http://{host}", 200), ("http://evil.example", 403), ("null", 403)):
        assert statuses(server, ("/predict",), Host=host, Origin=origin) == [status]
