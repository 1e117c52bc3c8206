"""Milliseconds of a network in the ways that PyTorch can run it where it is deployed: batch, precision, memory layout,
compiled or not, replayed from a CUDA graph or not, threads of the CPU; energy where the card can be read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from featcache.counted_nouns import counted
from featcache.devices import out_of_memory, products_in, require_precision
from featcache.errors import InputError
from featcache.options import Precision
from featcache.profiling.card_state import CardState, ReadCard, watched
from featcache.profiling.latency import BUSY_RATIO, latency_of, noise_images, seconds_a_pass, time_passes
from featcache.records import Latency

log = logging.getLogger("featcache")

SECONDS = 3.0  # of timed passes, at most, beyond the fewest
FEWEST = 5
ENERGY_SECONDS = 1.0  # that the card is watched for, at least: it averages its power over a tenth of that


@dataclass(frozen=True)
class Way:
    """One way to run a network."""

    batch_size: int
    precision: str = "float32"
    channels_last: bool = False
    compiled: bool = False
    cuda_graph: bool = False
    threads: int | None = None  # of the CPU; None: as many as PyTorch takes
    folded: bool = True  # batch norms are part of the convolutions before them

    @property
    def name(self) -> str:
        """All but the batch, for people."""
        if not self.folded:
            return f"plain, {self.precision}"
        told = {
            "channels-last": self.channels_last,
            "compiled": self.compiled,
            "CUDA graph": self.cuda_graph,
            f"{counted(self.threads or 0, 'thread')}": self.threads is not None,
        }
        return ", ".join([self.precision, *(name for name, true in told.items() if true)])


@dataclass(frozen=True)
class WayMeasurement:
    """What one way takes on one device."""

    way: Way
    latency_ms: Latency
    prepare_seconds: float  # until the first pass was done: compiling, capturing
    difference: float  # of logits from the plain network's in float32, at most, as a fraction of the largest of them
    busy: bool
    card: CardState | None = None
    joules_per_image: float | None = None

    @property
    def images_per_second(self) -> float:
        """By the mean."""
        return self.latency_ms.batch_size / self.latency_ms.mean * 1e3


Run = Callable[[Tensor], Tensor]  # normalised images `[N, 3, S, S]` to logits `[N, C]`
Prepare = Callable[[Way], Run]  # raises what PyTorch does where it cannot


@dataclass(frozen=True)
class WaysAsked:
    """Which ways are to be measured; None: all that are usual on the device."""

    batch_sizes: Sequence[int] = (1, 8, 32, 128)
    precisions: Sequence[str] | None = None
    compiled: bool = False  # beside the others; it takes a minute for each
    threads: Sequence[int] = ()
    iterations: int = 100
    warmup: int = 10

    def on(self, device: torch.device, own: str) -> list[Way]:
        """The ways on `device`, each at every batch; the plain one at the network's `own` precision first."""
        gpu = device.type == "cuda"
        usual = [p for p in get_args(Precision) if _can(p, device)] if gpu else ["float32", "bfloat16"]
        rest = product(
            self.threads or (None,),
            self.precisions or usual,
            (False, True),
            (False, True) if self.compiled else (False,),
            (False, True) if gpu else (False,),
        )
        each = [Way(1, p, last, compiled, graph, threads) for threads, p, last, compiled, graph in rest]
        return [replace(way, batch_size=n) for way in (Way(1, own, folded=False), *each) for n in self.batch_sizes]


def require_precisions(asked: Sequence[str], device: torch.device) -> None:
    """Raise InputError for what is no precision, or none of this device."""
    known = get_args(Precision)
    for name in asked:
        if name not in known:
            raise InputError(f"--precision {name}: expected one of {', '.join(known)}.")
        require_precision(name, device, "--precision")


def _can(precision: str, device: torch.device) -> bool:
    try:
        require_precisions([precision], device)
    except InputError:
        return False
    return True


def measure_ways(
    prepare: Prepare, asked: WaysAsked, own: str, side: int, device: torch.device, read_card: ReadCard | None = None
) -> list[WayMeasurement]:
    """Every way that can be, on noise of `side` pixels; of what cannot a warning says why. `own` is the precision of
    the network as it was trained."""
    found: list[WayMeasurement] = []
    expected: dict[int, Tensor] = {}
    warned: set[str] = set()
    for way in asked.on(device, own):
        with _threads(way.threads), products_in(way.precision, device), torch.inference_mode():
            images = noise_images(way.batch_size, side, device)
            try:
                if way.batch_size not in expected:
                    plain = Way(way.batch_size, folded=False)
                    with products_in("float32", device):
                        expected[way.batch_size] = prepare(plain)(images).float()
                one = _measure(prepare, way, images, expected[way.batch_size], asked, read_card)
            except Exception as error:  # the compiler and graphs raise what their many parts raise
                if not (out_of_memory(error) or way.compiled or way.cuda_graph):
                    raise
                said = str(error).strip().splitlines() or [type(error).__name__]
                log.warning("batch %d, %s: not measured (%s)", way.batch_size, way.name, said[0][:200])
                continue
        found.append(one)
        reasons = set() if one.card is None else set(one.card.throttled)
        if one.card is not None and reasons - warned:
            warned |= reasons
            log.warning("batch %d, %s: %s", way.batch_size, way.name, one.card.warning())
    return found


def _measure(
    prepare: Prepare, way: Way, images: Tensor, expected: Tensor, asked: WaysAsked, read_card: ReadCard | None
) -> WayMeasurement:
    device = images.device
    begin = time.perf_counter()
    images = images.contiguous(memory_format=torch.channels_last if way.channels_last else torch.contiguous_format)
    run = prepare(way)
    if way.cuda_graph:
        run = captured(run, images)
    logits = run(images).float()
    difference = float((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
    prepared = time.perf_counter() - begin
    once = seconds_a_pass(lambda: run(images), device, 0.0)
    iterations = max(min(FEWEST, asked.iterations), min(asked.iterations, int(SECONDS / once)))
    warmup = min(asked.warmup, iterations)
    for _ in range(warmup):
        run(images)
    times = time_passes(images, (run,), iterations, device)[:, 0]
    latency = latency_of(np.asarray(times), warmup, way.batch_size)
    card = joules = None
    if read_card is not None:
        card, joules = _energy(run, images, read_card)
    busy = latency.p95 > BUSY_RATIO * latency.p50
    return WayMeasurement(way, latency, prepared, difference, busy, card, joules)


def _energy(run: Run, images: Tensor, read_card: ReadCard) -> tuple[CardState, float]:
    """The state of the card under a second of passes, and the joules of an image: mean power times time."""
    device = images.device
    done, begin = 0, time.perf_counter()
    with watched(read_card) as state:
        while time.perf_counter() - begin < ENERGY_SECONDS:
            run(images)
            done += 1
            if done % 16 == 0 and device.type == "cuda":  # or the queue would run far ahead of the clock
                torch.cuda.synchronize(device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begin
    seen = state()
    return seen, seen.watts * seconds / (done * len(images))


def captured(run: Run, images: Tensor) -> Run:
    """`run` on a batch like `images`, captured once as a CUDA graph and replayed: one launch for the whole network."""
    device = images.device
    kept = images.clone(memory_format=torch.preserve_format)
    with torch.cuda.device(device):
        side: Any = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # what is allocated and chosen in first passes is no part of the graph
            for _ in range(3):
                run(kept)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run(kept)

    def replay(batch: Tensor) -> Tensor:
        kept.copy_(batch)
        graph.replay()
        return out

    return replay


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """So many threads of each operation, within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
