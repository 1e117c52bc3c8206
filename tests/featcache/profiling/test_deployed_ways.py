"""Each way to run a network where it is deployed: which there are, what they take, what cannot be measured."""

from __future__ import annotations

import logging
import time

import pytest
import torch
from torch import Tensor
from work_clock import WorkClock

from featcache.errors import InputError
from featcache.profiling import deployed_ways
from featcache.profiling.card_state import CardReading
from featcache.profiling.deployed_ways import Run, Way, WaysAsked, measure_ways, require_precisions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ASKED = WaysAsked((1, 4), ("float32", "bfloat16"), iterations=10, warmup=2)
MS = {"float32": 8.0, "bfloat16": 4.0}  # of an image


def logits(images: Tensor) -> Tensor:
    return torch.stack([images.mean((1, 2, 3)), torch.ones(len(images))], dim=1)


def test_the_ways_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))  # an L4's
    cpu = WaysAsked((1, 8), compiled=True, threads=(1, 2)).on(CPU, "float32")
    assert cpu[:2] == [Way(1, folded=False), Way(8, folded=False)]
    assert len(cpu) == 2 * (1 + 2 * 2 * 2 * 2)  # threads, precision, layout, compiled
    assert {way.precision for way in cpu} == {"float32", "bfloat16"} and not any(way.cuda_graph for way in cpu)
    cuda = WaysAsked((1,)).on(CUDA, "bfloat16")
    assert {way.precision for way in cuda} == {"float32", "tf32", "bfloat16", "float16"}
    assert any(way.cuda_graph for way in cuda) and not any(way.compiled for way in cuda)
    assert len({way.name for way in cuda}) == len(cuda)
    with pytest.raises(InputError, match="--precision int3"):
        require_precisions(["int3"], CPU)
    with pytest.raises(InputError, match="tf32 is of NVIDIA"):
        require_precisions(["tf32"], CPU)


def test_every_way_has_its_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkClock(monkeypatch)

    def prepare(way: Way) -> Run:
        def run(images: Tensor) -> Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last) or not way.channels_last
            clock.work(MS[way.precision] / 1e3 * len(images) / (2 if way.channels_last else 1))
            return logits(images) + (0.01 if way.precision == "bfloat16" else 0)

        return run

    found = measure_ways(prepare, ASKED, "float32", 8, CPU)
    assert [one.way for one in found] == ASKED.on(CPU, "float32")
    for one in found:
        expected = MS[one.way.precision] * one.way.batch_size / (2 if one.way.channels_last else 1)
        assert one.latency_ms.mean == pytest.approx(expected, rel=0.25)
        assert one.images_per_second == pytest.approx(1e3 * one.way.batch_size / expected, rel=0.25)
        assert (one.latency_ms.iterations, one.latency_ms.warmup) == (10, 2)
        assert one.difference == pytest.approx(0.01 if one.way.precision == "bfloat16" else 0, abs=1e-6)
        assert one.card is None and one.joules_per_image is None


def test_slow_passes_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = WorkClock(monkeypatch)

    def prepare(way: Way) -> Run:
        def run(images: Tensor) -> Tensor:
            clock.work(1.0)
            return logits(images)

        return run

    found = measure_ways(prepare, WaysAsked((1,), ("float32",), iterations=100), "float32", 8, CPU)
    assert {one.latency_ms.iterations for one in found} == {deployed_ways.FEWEST}


def test_threads_hold_for_one_way_alone() -> None:
    seen: list[tuple[int | None, int]] = []

    def prepare(way: Way) -> Run:
        def run(images: Tensor) -> Tensor:
            seen.append((way.threads, torch.get_num_threads()))
            return logits(images)

        return run

    before = torch.get_num_threads()
    measure_ways(prepare, WaysAsked((1,), ("float32",), threads=(2, 3), iterations=1), "float32", 8, CPU)
    assert all(there == (asked or before) for asked, there in seen) and {asked for asked, _ in seen} == {None, 2, 3}
    assert torch.get_num_threads() == before


def test_what_cannot_be_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def prepare(way: Way) -> Run:
        def run(images: Tensor) -> Tensor:
            if len(images) > 2 and way.channels_last:
                raise torch.OutOfMemoryError("4 are too many")
            if way.compiled:
                raise RuntimeError("no compiler was found")
            return logits(images)

        return run

    asked = WaysAsked((1, 4), ("float32",), compiled=True, iterations=1)
    with caplog.at_level(logging.WARNING, "featcache"):
        found = measure_ways(prepare, asked, "float32", 8, CPU)
    assert [(one.way.batch_size, one.way.name) for one in found] == [
        *((n, "plain, float32") for n in (1, 4)),
        *((n, "float32") for n in (1, 4)),
        (1, "float32, channels-last"),
    ]
    assert "4 are too many" in caplog.text and "no compiler was found" in caplog.text


def test_a_fault_of_the_network_itself_is_raised() -> None:
    def prepare(way: Way) -> Run:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        measure_ways(prepare, ASKED, "float32", 8, CPU)


def test_energy_is_power_times_time_and_a_card_that_throttled_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deployed_ways, "ENERGY_SECONDS", 0.2)

    def prepare(way: Way) -> Run:
        def run(images: Tensor) -> Tensor:
            time.sleep(0.01 * len(images))
            return logits(images)

        return run

    def read() -> CardReading:
        return CardReading(1200, 6251, 71, 50.0, 0x4)

    asked = WaysAsked((2,), ("float32",), iterations=1, warmup=0)
    with caplog.at_level(logging.WARNING, "featcache"):
        found = measure_ways(prepare, asked, "float32", 8, CPU, read)
    for one in found:
        assert one.joules_per_image is not None and one.card is not None
        assert one.joules_per_image == pytest.approx(50.0 * 0.01, rel=0.5)  # 50 W for 10 ms
        assert one.card.throttled == {"power limit": one.card.readings}
    assert caplog.text.count("the card throttled") == 1
