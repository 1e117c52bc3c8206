"""A server as its clients meet it: every address, answers that equal `featcache predict`'s, batches."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from command_runs import done
from PIL import Image
from servers import MARKUP, Served, images_of_test, noise, run_for, served

from heads.predict import Predictor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_for(tmp_path_factory)


@pytest.fixture(scope="module")
def server(run: Path) -> Iterator[Served]:
    with served(run) as one:
        yield one


@pytest.fixture(scope="module")
def images(run: Path) -> list[tuple[str, bytes]]:
    """Some that the cache knows, some that have to go through the network."""
    known = [(file.name, file.read_bytes()) for file in images_of_test(run)[::3]]
    return [*known, *((f"noise {n}.png", noise(n)) for n in range(6))]


def without_times(reply: Any) -> Any:
    return {key: value for key, value in reply.json.items() if key != "seconds"}


def test_an_answer_is_what_predict_says_of_the_same_file(
    server: Served, run: Path, images: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    for n, (_, data) in enumerate(images):
        (tmp_path / f"{n:02d}.png").write_bytes(data)
    options = ("--top", "4", "--format", "jsonl", "--allow-custom", "-q")
    lines = done("predict", run, tmp_path, *options).stdout.splitlines()
    reply = server.post(images, "?top=4")
    assert reply.status == 200
    assert len(lines) == len(images) > 8  # more than go through the network in one pass
    for line, found in zip(lines, reply.json["images"], strict=True):
        said = json.loads(line)
        for name in ("class", "probability", "top", "unlike_training", "as_far", "error"):
            assert said[name] == found[name]
    assert {found["unlike_training"] for found in reply.json["images"]} == {True, False}


def test_json_says_what_a_form_says_and_one_image_what_many_say(
    server: Served, images: list[tuple[str, bytes]]
) -> None:
    document = {"images": [{"name": n, "data": base64.b64encode(d).decode()} for n, d in images]}
    many = server.post(images, "?neighbours=3")
    assert without_times(server.post_json(document, "?neighbours=3")) == without_times(many)
    for one, found in zip(images, many.json["images"], strict=True):
        assert server.post([one], "?neighbours=3").json["images"] == [found]


def test_many_requests_at_once_share_batches_and_get_the_answers_they_get_alone(run: Path) -> None:
    each = [(f"{n}.png", noise(100 + n)) for n in range(24)]
    with served(run, max_wait_ms=500, max_batch=16) as together, ThreadPoolExecutor(len(each)) as pool:
        start = threading.Barrier(len(each))

        def ask(one: tuple[str, bytes]) -> Any:
            start.wait()
            return without_times(together.post([one]))

        found = list(pool.map(ask, each))
        batches, seen = (together.metric(f"featcache_batch_images_{what}") for what in ("count", "sum"))
    assert seen == len(each)
    assert batches <= len(each) / 2
    with served(run, max_batch=16) as alone:
        assert [without_times(alone.post([one])) for one in each] == found


def test_an_image_that_cannot_be_read_is_one_of_many(server: Served, images: list[tuple[str, bytes]]) -> None:
    mixed = server.post([images[0], ("notes.txt", b"no image"), images[1], ("empty.png", b"")])
    assert mixed.status == 200
    assert [one["error"] is None for one in mixed.json["images"]] == [True, False, True, False]
    assert mixed.json["images"][1]["class"] is None
    assert mixed.json["images"][3]["error"] == "empty file"
    none = server.post([("notes.txt", b"no image"), ("empty.png", b"")])
    assert none.status == 422
    assert "each has its reason" in none.detail
    assert none.json["images"][1]["error"] == "empty file"


def test_a_training_image_is_its_own_nearest_and_has_a_picture(server: Served, run: Path) -> None:
    file = run.parents[1] / "digits" / "train" / MARKUP / "003.png"
    (found,) = server.post([("some.png", file.read_bytes())], "?neighbours=5").json["images"]
    near = found["neighbours"]
    assert [near[0]["image"], near[0]["class"]] == [f"train/{MARKUP}/003.png", MARKUP]
    assert near[0]["distance"] < 1e-3
    assert [one["distance"] for one in near] == sorted(one["distance"] for one in near)
    assert len({one["number"] for one in near}) == 5
    reply = server.get(f"/neighbours/{near[0]['number']}.jpg")
    assert reply.headers["content-type"] == "image/jpeg"
    shown, original = Image.open(io.BytesIO(reply.body)).convert("L"), Image.open(file)
    assert shown.size == original.size
    assert abs(shown.getpixel((20, 20)) - original.getpixel((20, 20))) < 25  # type: ignore[operator]


@pytest.mark.parametrize("number", ["48", "-1", "99999999999999999999", "x", "..%2f..%2fdigits.json", "0%00"])
def test_no_other_picture_can_be_had(server: Served, number: str) -> None:
    assert server.get("/neighbours/47.jpg").status == 200
    assert server.get(f"/neighbours/{number}.jpg").status in (404, 422)


def test_what_there_is_beside_predictions(server: Served) -> None:
    assert server.get("/healthz").json == {"status": "ok", "run": "digits"}
    before = server.metric('featcache_requests_total{path="/predict",status="415"}')
    server.ask("POST", "/predict", b"x", Content_Type="text/plain")
    assert server.metric('featcache_requests_total{path="/predict",status="415"}') == before + 1
    assert server.metric("featcache_queue_images") == 0
    schema = server.get("/openapi.json").json
    answer = schema["components"]["schemas"]["ImageAnswer"]["properties"]
    assert {"image", "class", "probability", "top", "neighbours", "error"} <= answer.keys()
    assert {"multipart/form-data", "application/json"} == schema["paths"]["/predict"]["post"]["requestBody"][
        "content"
    ].keys()
    for path in ("/docs", "/redoc", "/predict/", "/assets/drop_page.js"):  # the first two would fetch from elsewhere
        assert server.get(path).status in (404, 307)


def test_the_page_needs_nothing_else_and_runs_under_a_policy(server: Served) -> None:
    page = server.get("/")
    html, policy = page.body.decode(), page.headers["content-security-policy"]
    assert not re.search(r"https?://|//[a-z]|@import|url\(", html)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in page.headers


def test_a_batch_that_fails_is_an_error_and_the_next_goes_well(
    server: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict_prepared", lambda *_: 1 / 0)
        reply = server.post([("a.png", noise(1))])
    assert (reply.status, reply.detail) == (500, "the model failed; the server's log says why")
    assert "ZeroDivisionError" in caplog.text
    assert server.metric("featcache_queue_images") == 0
    assert server.post([("a.png", noise(1))]).status == 200
