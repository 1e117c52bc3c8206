"""Clocks, temperature, power of a GPU and why it runs slower than it could, read while something is measured on it.

By NVML (package nvidia-ml-py) where it is installed, else by nvidia-smi, which comes with the driver.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

from featcache.counted_nouns import counted

# Bits of NVML's clocks event reasons (nvml.h) that mean slower than asked for; idle and set clocks are none of them.
THROTTLING = {
    0x4: "power limit",
    0x8: "hardware slowdown",
    0x20: "heat, by the driver",
    0x40: "heat, by the hardware",
    0x80: "power brake",
}
FIELDS = ("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "clocks_event_reasons.active")
EVERY = 0.05  # seconds between readings


@dataclass(frozen=True)
class CardReading:
    """A card at one moment."""

    sm_mhz: float
    memory_mhz: float
    celsius: float
    watts: float
    reasons: int  # bits, as NVML has them


ReadCard = Callable[[], CardReading]


@dataclass(frozen=True)
class CardState:
    """A card while something ran on it."""

    readings: int
    seconds: float
    sm_mhz: tuple[float, float]  # smallest, largest
    memory_mhz: tuple[float, float]
    celsius: float  # the highest
    watts: float  # the mean
    throttled: dict[str, int]  # why -> in how many readings

    @classmethod
    def of(cls, readings: Sequence[CardReading], seconds: float) -> CardState:
        """What these readings, evenly over so many seconds, come to."""

        def span(values: Sequence[float]) -> tuple[float, float]:
            return min(values), max(values)

        why = {name: sum(bool(one.reasons & bit) for one in readings) for bit, name in THROTTLING.items()}
        return cls(
            readings=len(readings),
            seconds=seconds,
            sm_mhz=span([one.sm_mhz for one in readings]),
            memory_mhz=span([one.memory_mhz for one in readings]),
            celsius=max(one.celsius for one in readings),
            watts=sum(one.watts for one in readings) / len(readings),
            throttled={name: count for name, count in why.items() if count},
        )

    def warning(self) -> str | None:
        """That the card ran slower than it could, and why; None where it did not."""
        if not self.throttled:
            return None
        why = ", ".join(f"{name} in {count}" for name, count in self.throttled.items())
        return (
            f"the card throttled ({why} of {counted(self.readings, 'reading')}; {self.sm_mhz[0]:.0f} to "
            f"{self.sm_mhz[1]:.0f} MHz, {self.celsius:.0f} degrees, {self.watts:.0f} W): the figures are of a slower "
            "clock"
        )


@contextmanager
def watched(read: ReadCard) -> Iterator[Callable[[], CardState]]:
    """Gives a function that tells the state of the card within the block, once it is over; at least one reading."""
    readings = [read()]
    done, begin = threading.Event(), time.perf_counter()

    def watch() -> None:
        while not done.wait(EVERY):
            with suppress(OSError, subprocess.SubprocessError, ValueError):  # one reading that fails is left out
                readings.append(read())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: CardState.of(readings, time.perf_counter() - begin)
    finally:
        done.set()
        watcher.join()


def card_reader(device: torch.device) -> ReadCard | None:
    """How to read the card of a CUDA device; None where it is none, or neither NVML nor nvidia-smi can."""
    if device.type != "cuda":
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    with suppress(ImportError):
        nvml = import_module("pynvml")
        with suppress(nvml.NVMLError):
            return nvml_reader(nvml, uuid)
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        _read_smi(uuid)
        return lambda: _read_smi(uuid)
    return None


def nvml_reader(nvml: ModuleType | Any, uuid: str) -> ReadCard:
    """By the package nvidia-ml-py, whose module is `nvml`."""
    nvml.nvmlInit()
    card = nvml.nvmlDeviceGetHandleByUUID(uuid)

    def read() -> CardReading:
        return CardReading(
            sm_mhz=nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
            memory_mhz=nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
            celsius=nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU),
            watts=nvml.nvmlDeviceGetPowerUsage(card) / 1e3,
            reasons=nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card),
        )

    read()
    return read


def _read_smi(uuid: str) -> CardReading:
    command = ["nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", f"--id={uuid}"]
    return parse_smi(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout)


def parse_smi(line: str) -> CardReading:
    """A line of nvidia-smi with FIELDS; raises ValueError where one of them is not known there."""
    sm, memory, celsius, watts, reasons = (field.strip() for field in line.strip().split(","))
    return CardReading(float(sm), float(memory), float(celsius), float(watts), int(reasons, 16))
