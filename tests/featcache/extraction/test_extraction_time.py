"""What `check` foretells of an extraction, against one by a clock that knows what work costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import networks
import numpy as np
import pytest
from work_clock import WorkClock

import featcache.data.decoded_image as decoded_image
from featcache.errors import OptionsError
from featcache.extraction import check, estimate_costs, extract
from featcache.extraction.extraction_time import _spread
from featcache.options.loading import parse_options
from featcache.session import Session

Config = Callable[..., dict[str, Any]]
WITHIN = 0.25


@pytest.mark.parametrize("views", [1, 3])
def test_an_extraction_takes_what_was_foretold(config: Config, monkeypatch: pytest.MonkeyPatch, views: int) -> None:
    clock = WorkClock(monkeypatch)
    clock.images_cost(networks.Stage)
    clock.costs(decoded_image, "read_picture", 8.0)  # a file
    clock.costs(decoded_image, "view", 2.0)
    given = {"augmentations": ["horizontal_flip"], "views": views} if views > 1 else {}
    model = {"backbone": "networks:four_stages", "pretrained": True}
    options = parse_options(config(model=model, data=given, cache={"batch_size": 16}))
    (foretold,) = estimate_costs(options, Session.begin("cpu", allow_custom=True))
    begin = time.perf_counter()
    extraction = extract(options, allow_custom=True)
    taken = time.perf_counter() - begin
    assert foretold.seconds == pytest.approx(taken, rel=WITHIN)
    noted = extraction.store.extraction()
    assert foretold.time.forward == pytest.approx(noted["forward_seconds"], rel=0.1)
    assert foretold.time.decode == pytest.approx(noted["decode_seconds"], rel=0.1)
    assert foretold.time.decode > 84 * 8  # every file is read once, whatever its views


def test_what_is_foretold_follows_what_an_image_costs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    options = config(model={"backbone": "networks:four_stages", "pretrained": True})
    found = []
    for seconds in (1.0, 3.0):
        with monkeypatch.context() as patched:
            WorkClock(patched).images_cost(networks.Stage, seconds)
            found.append(check(options, allow_custom=True)[0].time.forward)
    assert found[1] / found[0] == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("asked", [{"training": {"precision": "tf32"}}, {"profile": {"precisions": ["tf32"]}}])
def test_a_precision_that_the_device_has_not_is_refused_before_anything_is_timed(
    config: Config, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.extraction.cost_estimate.load_manifest", lambda *_: pytest.fail("begun"))
    with pytest.raises(OptionsError, match="tf32 is of NVIDIA GPUs"):
        check(config(**asked), device="cpu")


def test_files_that_are_timed_come_from_all_over() -> None:
    tasks: list[Any] = list(range(1000))
    for most in (16, 100, 512):
        places = np.sort(_spread(tasks, most))
        assert len(set(places.tolist())) == most
        assert np.diff(places, prepend=0, append=1000).max() < 3 * 1000 / most
    assert sorted(_spread(tasks[:7], 512)) == tasks[:7]
