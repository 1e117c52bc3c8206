"""Latency as deployed on a GPU: every way is measured, graphs are right, the card is read; what check foretells."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY
from gpu_device import COMPILER, CUDA_ONLY, DEVICE, NAME, WHERE_THERE_IS_ONE, Config

from featcache.extraction import estimate_costs, extract
from featcache.options import parse_options
from featcache.profiling import WaysAsked, card_reader
from featcache.profiling.deployed_ways import captured
from featcache.session import Session
from heads import train_model
from heads.export import time_deployed

pytestmark = [pytest.mark.gpu, WHERE_THERE_IS_ONE]
DIFFERENCE = {"float32": 1e-3, "tf32": 0.02, "bfloat16": 0.1, "float16": 0.02}


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=COMPILER)])
def test_a_run_is_timed_in_every_way(config: Config, tmp_path: Path, compiled: bool) -> None:
    backbone = {"backbone": TINY, "pretrained": True} if compiled else {"backbone": "resnet18"}
    options = parse_options(config(model={"input_size": 64, **backbone}, training={"epochs": 1}))
    run = train_model(options, results_dir=tmp_path / "results", device=NAME, allow_custom=True)
    asked = WaysAsked((1,) if compiled else (1, 8), ("bfloat16",) if compiled else None, compiled, iterations=10)
    found = time_deployed(run.folder, asked, DEVICE, allow_custom=True)
    assert [one.way for one in found] == asked.on(DEVICE, "float32")  # none was left out
    for one in found:
        assert 0 < one.latency_ms.p50 <= one.latency_ms.p95
        assert one.difference <= DIFFERENCE.get(one.way.precision, 0.01), one.way.name
    kept = json.loads((run.folder / "performance_deployed.json").read_text())
    assert len(kept["measurements"]) == len(found)


@CUDA_ONLY
def test_a_graph_is_given_its_images_anew() -> None:
    def run(images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))[:, None] * 2

    first, second = (torch.rand(4, 3, 8, 8, device=DEVICE) for _ in range(2))
    with torch.inference_mode():
        replay = captured(run, first)
        assert torch.equal(replay(second).clone(), run(second))
        assert torch.equal(replay(first).clone(), run(first))


@CUDA_ONLY
def test_the_card_can_be_read() -> None:
    read = card_reader(DEVICE)
    if read is None:
        pytest.skip("neither NVML nor nvidia-smi can read the card here")
    one = read()
    assert 0 < one.sm_mhz < 10_000 and 0 < one.celsius < 120 and 1 < one.watts < 2_000


def test_check_foretells_an_extraction_on_the_gpu(config: Config, tmp_path: Path) -> None:
    options = parse_options(config(model={"backbone": "resnet18", "input_size": 64}))
    (foretold,) = estimate_costs(options, Session.begin(NAME))
    begin = time.perf_counter()
    extract(options, device=NAME)
    taken = time.perf_counter() - begin
    assert 0 < foretold.time.forward < taken and foretold.time.profile > 0
    assert 0.2 < foretold.seconds / taken < 5  # of a second or two; `bin/bench check` compares longer ones
