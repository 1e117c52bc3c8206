"""`cache.batch_size` "auto": the batch that gives most images a second, found by trying and kept on record."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch

from featcache.devices import device_name, out_of_memory
from featcache.extraction.inference import Inference, cpu_images

log = logging.getLogger("featcache")

LARGEST = 1024  # beyond it nothing was faster, and decoded images wait in memory
CPU_DOUBLINGS = 3  # of the fewest images that a CPU takes
SECONDS = 0.25  # of passes that a rate is told from, at least
ENOUGH = 0.97  # of the best rate: a smaller batch takes less memory, and fills up sooner
WORSE = 0.9  # of the best rate so far: the peak is passed


def fastest_batch(infer: Inference, record: dict[str, Any]) -> int:
    """Images in one pass: as `record` says of this device, else as found now, which is put into it.

    `record` is device and threads -> {"batch_size", "images_per_second": {batch: rate}}. It lies in the store of the
    rows that were computed so, since features depend on the batch by rounding: what is extracted later takes the same.
    """
    key = _key(infer.device)
    if key not in record:
        rates = _rates(infer)
        record[key] = {
            "batch_size": _smallest_of_the_fast(rates),
            "images_per_second": {str(n): round(rate, 1) for n, rate in rates.items()},
        }
        tried = ", ".join(f"{n}: {rate:.0f}" for n, rate in rates.items())
        log.info("%s: %d images a pass (img/s by batch: %s)", infer.name, record[key]["batch_size"], tried)
    return int(record[key]["batch_size"])


def batch_on_record(extraction: Mapping[str, Any], device: torch.device) -> int | None:
    """What was found for this device, of a store's notes on its extraction; None where nothing was."""
    found = extraction.get("searched", {}).get(_key(device))
    return int(found["batch_size"]) if found else None


def _key(device: torch.device) -> str:
    return f"{device_name(device)}, {torch.get_num_threads()} threads"


def _rates(infer: Inference) -> dict[int, float]:
    """Images a second by batch, from the smallest up, until the peak is passed or nothing more fits the memory."""
    rates: dict[int, float] = {}
    for size in _sizes(infer.device):
        try:
            if infer.device.type == "cpu" and not infer.is_steady(size) and rates:
                continue
            rates[size] = _rate(infer, size)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            break
        if rates[size] < WORSE * max(rates.values()):
            break
    return rates or {1: 0.0}


def _sizes(device: torch.device) -> list[int]:
    if device.type == "cpu":
        return [cpu_images() << doubling for doubling in range(CPU_DOUBLINGS + 1)]
    return [8 << doubling for doubling in range((LARGEST // 8).bit_length())]


def _rate(infer: Inference, size: int) -> float:
    images = infer.noise(size)
    infer.one_pass(images).sum().item()  # what a first pass allocates; .item() waits for the device
    passes, begin = 0, time.perf_counter()
    while passes == 0 or time.perf_counter() - begin < SECONDS:
        for _ in range(1 + passes):  # waited for seldom: on a GPU passes overlap
            features = infer.one_pass(images)
        passes += 1 + passes
        features.sum().item()
    return passes * size / (time.perf_counter() - begin)


def _smallest_of_the_fast(rates: Mapping[int, float]) -> int:
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= ENOUGH * best)
