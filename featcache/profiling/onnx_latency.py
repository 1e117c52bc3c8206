"""Milliseconds of an ONNX file in onnxruntime, on each of its execution providers that this machine has."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.counted_nouns import counted
from featcache.devices import device_name
from featcache.errors import InputError, WorkError
from featcache.profiling.latency import BUSY_ATTEMPTS, BUSY_RATIO, latency_of
from featcache.records import Latency

log = logging.getLogger("featcache")

# By what they are called on the command line; the last two run on the first GPU.
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
NUMBERS = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


@dataclass(frozen=True)
class OnnxMeasurement:
    """An ONNX file timed on one provider at one batch size; on a GPU with the copies there and back."""

    provider: str  # cpu, cuda, tensorrt
    device: str
    threads: int  # of the CPU
    latency_ms: Latency
    load_seconds: float  # until the first batch is through, with what the provider compiles
    file_bytes: int
    runtime: str
    measured_at: str
    busy: bool  # p95 over 1.5 x p50: something else ran beside the measurement


@dataclass(frozen=True)
class OnnxTiming:
    """How long is measured, and on how many threads of the CPU; None: as many as PyTorch takes."""

    iterations: int = 100
    warmup: int = 10
    threads: int | None = None


def profile_onnx(
    file: Path, batch_sizes: Sequence[int], timing: OnnxTiming, providers: Sequence[str] = ()
) -> tuple[OnnxMeasurement, ...]:
    """The latency of `file` at each batch size on each of the `providers`; without any on all that are here, of which
    one that does not start is said and passed over.

    Raises InputError for what is no ONNX file of images, for a provider that is not here, or without onnxruntime.
    """
    _require_onnxruntime()
    wanted = list(providers) or here()
    for name in wanted:
        if name not in here():
            expected = f"here {'is' if len(here()) == 1 else 'are'} {', '.join(here())}"
            raise InputError(
                f"--provider {name}: this onnxruntime does not have it; {expected}. The package onnxruntime-gpu brings "
                f"cuda and tensorrt."
            )
    found: list[OnnxMeasurement] = []
    for name in wanted:
        try:
            found += [_measure(file, name, images, timing) for images in batch_sizes]
        except WorkError as error:
            if providers:
                raise
            log.warning("%s", error)
    return tuple(found)


def here() -> list[str]:
    """The providers that this onnxruntime has, by their short names."""
    import onnxruntime

    there = set(onnxruntime.get_available_providers())
    return [name for name, provider in PROVIDERS.items() if provider in there]


def _measure(file: Path, provider: str, images: int, timing: OnnxTiming) -> OnnxMeasurement:
    import onnxruntime

    threads = timing.threads or torch.get_num_threads()
    begin = time.perf_counter()
    session = _session(file, provider, threads)
    batch = {one.name: _noise(file, one, images) for one in session.get_inputs()}
    try:
        session.run(None, batch)
    except Exception as error:  # a fixed batch size, or what the provider has no kernel for
        raise WorkError(f"{file}: {counted(images, 'image')} on {provider}: {_first_line(error)}") from None
    loaded = time.perf_counter() - begin
    for _ in range(timing.warmup - 1):
        session.run(None, batch)
    latency = latency_of(_calmest(session, batch, timing.iterations), timing.warmup, images)
    return OnnxMeasurement(
        provider=provider,
        device=device_name(torch.device("cpu" if provider == "cpu" else "cuda")),
        threads=threads,
        latency_ms=latency,
        load_seconds=loaded,
        file_bytes=file.stat().st_size,
        runtime=f"onnxruntime {onnxruntime.__version__}",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        busy=latency.p95 > BUSY_RATIO * latency.p50,
    )


def _session(file: Path, provider: str, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    wanted = PROVIDERS[provider]
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=[wanted])
    except Exception as error:  # onnxruntime has a class of its own for each way that a file is none
        raise InputError(f"{file}: onnxruntime cannot load it ({_first_line(error)}). Expected an ONNX file.") from None
    # It falls back to the CPU by itself, and the figures would be called a GPU's.
    if session.get_providers()[0] != wanted:
        raise WorkError(f"{provider}: onnxruntime has it and cannot start it here: its libraries or a GPU are missing.")
    return session


def _noise(file: Path, one: Any, images: int) -> NDArray[np.generic]:
    """A batch for an input: its first axis is the batch, the others are as the file says."""
    shape = list(one.shape)
    if one.type not in NUMBERS or not shape or not all(isinstance(side, int) for side in shape[1:]):
        raise InputError(
            f"{file}: its input {one.name} is {one.type} {shape}; expected images of a fixed "
            "size, [batch, ..] of numbers."
        )
    values = np.random.default_rng(0).integers(0, 256, [images, *shape[1:]])
    number = NUMBERS[one.type]
    return values.astype(number) if number is np.uint8 else (values / 255).astype(number)


def _calmest(session: Any, batch: dict[str, NDArray[np.generic]], iterations: int) -> NDArray[np.float64]:
    """Milliseconds `[iterations]`; measured again while the spread says that the machine is busy."""
    best: tuple[float, NDArray[np.float64]] | None = None
    for _ in range(BUSY_ATTEMPTS):
        times = np.empty(iterations)
        for i in range(iterations):
            begin = time.perf_counter()
            session.run(None, batch)
            times[i] = (time.perf_counter() - begin) * 1e3
        p50, p95 = np.percentile(times, (50, 95))
        if best is None or p95 / p50 < best[0]:
            best = (float(p95 / p50), times)
        if best[0] <= BUSY_RATIO:
            break
    assert best is not None
    return best[1]


def _first_line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if len(said) <= 200 else f"{said[:200]} .."


def _require_onnxruntime() -> None:
    from importlib.util import find_spec

    if find_spec("onnxruntime") is None:
        raise InputError(
            "an ONNX file is timed by onnxruntime, which this Python does not have. Run pip install 'featcache[onnx]'."
        )
