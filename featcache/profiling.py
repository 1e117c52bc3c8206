"""What the full model costs on this device: latency, throughput, MACs, parameters, peak memory."""

from __future__ import annotations

import datetime
import logging
import platform
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.options import ProfileOptions
from featcache.records import Latency, Measurement, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("featcache")

BUSY_RATIO = 1.5  # p95 over p50 above this says that something else ran beside the measurement
BUSY_ATTEMPTS = 3
THROUGHPUT_PASSES = 5
# What counts as multiply-accumulates; everything else that fvcore knows is reported apart.
MAC_OPERATORS = frozenset({"conv", "linear", "matmul", "addmm", "bmm", "baddbmm", "einsum", "attention"})


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one image, by fvcore with handlers for what it does not know."""

    macs: int
    by_operator: dict[str, int]
    other_flops: dict[str, int]  # normalisation and pooling, in fvcore's own measure
    unmapped: dict[str, int]  # operator -> times met


def profile_model(
    backbone: nn.Module,
    head: nn.Module,
    *,
    input_size: int,
    precision: str,
    throughput_batch_size: int,
    options: ProfileOptions,
    device: torch.device,
    variants: Mapping[str, nn.Module] | None = None,
    preprocess: Sequence[Callable[[], object]] = (),
) -> Profile:
    """Measure backbone and head together on `device`, on random images of `input_size` pixels.

    `variants` holds the backbone at other precisions, by name, to be timed too; each of `preprocess` makes one image
    file into the network's input, and is timed on the CPU.
    """
    backbone, head = backbone.to(device).eval(), head.to(device).eval()
    batch_size, *more = options.batch_sizes
    stages, peak, peak_kind = _calmest(backbone, head, input_size, batch_size, options, device)
    latency = _summary(stages.sum(axis=1), options.warmup, batch_size)
    others = [(precision, backbone, n) for n in more]
    others += [
        (p, network.to(device).eval(), n) for p, network in (variants or {}).items() for n in options.batch_sizes
    ]
    measurements = [Measurement(precision, latency)]
    for name, network, n in others:
        try:
            times, _, _ = _calmest(network, head, input_size, n, options, device)
        except RuntimeError as error:
            if n == 1 or not out_of_memory(error):
                raise
            log.warning("a batch of %d images (%s) does not fit the memory of %s: not measured", n, name, device)
            continue
        measurements.append(Measurement(name, _summary(times.sum(axis=1), options.warmup, n)))
    rate, fitted = _throughput(nn.Sequential(backbone, head), input_size, throughput_batch_size, device)
    count = count_macs(nn.Sequential(backbone, head), input_size)
    return Profile(
        device=device_name(device),
        precision=precision,
        threads=torch.get_num_threads(),
        input_size=input_size,
        latency_ms=latency,
        preprocess_ms=_preprocessing(preprocess),
        backbone_ms=_summary(stages[:, 0], options.warmup, batch_size),
        head_ms=_summary(stages[:, 1], options.warmup, batch_size),
        measurements=tuple(measurements),
        throughput_batch_size=fitted,
        images_per_second=rate,
        macs=count.macs,
        flops=2 * count.macs,
        macs_by_operator=count.by_operator,
        other_flops_by_operator=count.other_flops,
        unmapped_operators=count.unmapped,
        counter="fvcore " + _version("fvcore") + " with featcache's handlers",
        params_backbone=sum(p.numel() for p in backbone.parameters()),
        params_head=sum(p.numel() for p in head.parameters()),
        peak_memory_bytes=peak,
        peak_memory_kind=peak_kind,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        busy=latency.p95 > BUSY_RATIO * latency.p50,
    )


def _noise(count: int, size: int, device: torch.device) -> Tensor:
    """Images `[count, 3, size, size]` to time, without touching the caller's random numbers."""
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)


def out_of_memory(error: BaseException) -> bool:
    """The device, or the machine, had no memory left, in whichever of PyTorch's ways of saying it."""
    said = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def device_name(device: torch.device) -> str:
    """The device as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or device.type


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _calmest(
    backbone: nn.Module, head: nn.Module, size: int, batch_size: int, options: ProfileOptions, device: torch.device
) -> tuple[NDArray[np.float64], int, str]:
    """Milliseconds `[iterations, 2]` of backbone and head, and the peak memory.

    Measured again while the spread says that the machine is busy, three times at most; the calmest counts.
    """
    best: tuple[float, tuple[NDArray[np.float64], int, str]] | None = None
    for _ in range(BUSY_ATTEMPTS):
        measured = _latency(backbone, head, size, batch_size, options, device)
        p50, p95 = np.percentile(measured[0].sum(axis=1), (50, 95))
        if best is None or p95 / p50 < best[0]:
            best = (p95 / p50, measured)
        if best[0] <= BUSY_RATIO:
            break
    assert best is not None
    return best[1]


def _latency(
    backbone: nn.Module, head: nn.Module, size: int, batch_size: int, options: ProfileOptions, device: torch.device
) -> tuple[NDArray[np.float64], int, str]:
    images = _noise(batch_size, size, device)
    with torch.inference_mode(), _peak_memory(device) as peak:
        for _ in range(options.warmup):
            head(backbone(images))
        times = _timed(images, (backbone, head), options.iterations, device)
    return times, peak(), "device memory allocated" if device.type == "cuda" else "resident memory of the process"


def _summary(times: NDArray[np.float64], warmup: int, batch_size: int) -> Latency:
    p50, p95, p99 = (float(np.percentile(times, q)) for q in (50, 95, 99))
    spread = float(np.std(times, ddof=1)) if len(times) > 1 else 0.0
    return Latency(float(np.mean(times)), spread, p50, p95, p99, len(times), warmup, batch_size)


def _preprocessing(preprocess: Sequence[Callable[[], object]]) -> Latency | None:
    """File to network input, one image after the other on one thread; each once, after one untimed."""
    if not preprocess:
        return None
    preprocess[0]()
    times = []
    for run in preprocess:
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return _summary(np.array(times), 1, 1)


def _timed(
    images: Tensor, stages: Sequence[Callable[[Tensor], Tensor]], iterations: int, device: torch.device
) -> NDArray[np.float64]:
    """Milliseconds `[iterations, stages]` of each stage on what the one before gave.

    By CUDA events on a GPU (its queue runs ahead of Python), perf_counter elsewhere.
    """
    times = np.empty((iterations, len(stages)))
    if device.type == "cuda":
        with torch.cuda.device(device):  # events are recorded on the current device
            event: Any = torch.cuda.Event
            marks = [[event(enable_timing=True) for _ in range(len(stages) + 1)] for _ in range(iterations)]
            for row in marks:
                x = images
                row[0].record()
                for stage, mark in zip(stages, row[1:], strict=True):
                    x = stage(x)
                    mark.record()
        torch.cuda.synchronize(device)
        for i, row in enumerate(marks):
            times[i] = [start.elapsed_time(end) for start, end in pairwise(row)]
        return times
    for i in range(iterations):
        x = images
        begin = time.perf_counter()
        for j, stage in enumerate(stages):
            x = stage(x)
            end = time.perf_counter()
            times[i, j], begin = (end - begin) * 1e3, end
    return times


def _throughput(model: nn.Module, size: int, batch_size: int, device: torch.device) -> tuple[float, int]:
    """Images per second (the median of a few passes after one untimed), and the batch size it was measured at.

    That is `batch_size`, or the largest half, quarter, .. of it that fits the device's memory.
    """
    while True:
        try:
            images = _noise(batch_size, size, device)
            with torch.inference_mode():
                model(images)
                times = _timed(images, (model,), THROUGHPUT_PASSES, device)
            return batch_size / (float(np.median(times)) / 1e3), batch_size
        except RuntimeError as error:
            if batch_size == 1 or not out_of_memory(error):
                raise
        batch_size //= 2  # outside the handler, whose traceback holds what did not fit


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives a function that tells the peak in bytes once the block is over.

    On a GPU the allocator counts; on a CPU the resident memory is sampled, since the system's own high-water mark
    would be an earlier backbone's.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_allocated(device))
        return
    samples = [_resident_bytes()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            samples.append(_resident_bytes())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(samples)
    finally:
        done.set()
        watcher.join()


def _resident_bytes() -> int:
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # no /proc: the best there is
    return peak if sys.platform == "darwin" else peak * 1024


def count_macs(model: nn.Module, input_size: int) -> MacCount:
    """Multiply-accumulates of `model` on one image of `input_size` pixels, counted on a trace of it.

    One MAC is one multiply and one add; FLOPs are twice that. Convolutions, linear layers and matrix products
    count, attention's included; normalisation and pooling are reported apart.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about what fvcore is built on
        from fvcore.nn import FlopCountAnalysis

    device = next(model.parameters()).device
    image = torch.zeros(1, 3, input_size, input_size, device=device)
    # The fast path of nn.MultiheadAttention runs a whole layer as one operator that no counter sees into.
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    level = logging.getLogger("fvcore").level
    logging.getLogger("fvcore").setLevel(logging.ERROR)  # unmapped operators are returned, not logged
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing: shapes are fixed here
            analysis = FlopCountAnalysis(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
            analysis.set_op_handle("aten::baddbmm", _baddbmm_macs)
            counts = {str(k): int(v) for k, v in analysis.by_operator().items()}
            unmapped = {str(k): int(v) for k, v in analysis.unsupported_ops().items()}
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        logging.getLogger("fvcore").setLevel(level)
    counts = {k.removeprefix("aten::"): v for k, v in counts.items() if v}
    counted = {("attention" if "attention" in k else k): v for k, v in counts.items()}
    by_operator = {k: v for k, v in counted.items() if k in MAC_OPERATORS}
    other = {k: v for k, v in counted.items() if k not in MAC_OPERATORS}
    return MacCount(sum(by_operator.values()), by_operator, other, unmapped)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> Any:
    """softmax(Q K^T) V: two matrix products; Q `[.., L, E]`, K `[.., S, E]`, V `[.., S, Ev]`."""
    from collections import Counter

    from fvcore.nn.jit_handles import get_shape

    q, k, v = (get_shape(i) for i in inputs[:3])
    del outputs
    return Counter({"attention": int(np.prod(q[:-1])) * k[-2] * (q[-1] + v[-1])})


def _baddbmm_macs(inputs: list[Any], outputs: list[Any]) -> Any:
    """Batched `[b, n, m] @ [b, m, p]` with an addend."""
    from collections import Counter

    from fvcore.nn.jit_handles import get_shape

    del outputs
    (b, n, m), (_, _, p) = get_shape(inputs[1]), get_shape(inputs[2])
    return Counter({"baddbmm": b * n * m * p})


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)
