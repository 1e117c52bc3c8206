"""A card's clocks, power and throttling, from readings that were recorded or made up: no card is needed."""

from __future__ import annotations

import time
from itertools import cycle
from types import SimpleNamespace

import pytest

from featcache.profiling.card_state import CardReading, CardState, nvml_reader, parse_smi, watched

CALM = CardReading(1980, 2619, 41, 300, 0x0)
IDLE = CardReading(345, 2619, 32, 72, 0x1)
CAPPED = CardReading(1200, 6251, 71, 72, 0x4)
HOT = CardReading(900, 6251, 84, 60, 0x20 | 0x8)


def test_a_card_that_throttled_is_told_with_its_reasons() -> None:
    state = CardState.of([CALM, CAPPED, CAPPED, HOT], 2.0)
    assert state.throttled == {"power limit": 2, "heat, by the driver": 1, "hardware slowdown": 1}
    assert (state.sm_mhz, state.celsius, state.watts) == ((900, 1980), 84, (300 + 72 + 72 + 60) / 4)
    said = state.warning()
    assert said is not None
    for words in ("power limit in 2", "of 4 readings", "900 to 1980 MHz", "84 degrees"):
        assert words in said


@pytest.mark.parametrize("readings", [[CALM], [IDLE, CALM], [CardReading(1000, 1, 1, 1, 0x2 | 0x10 | 0x100)]])
def test_idle_and_set_clocks_are_no_throttling(readings: list[CardReading]) -> None:
    assert CardState.of(readings, 1.0).warning() is None


def test_readings_are_taken_while_the_block_lasts_and_a_failing_one_is_left_out() -> None:
    turns = cycle([CALM, None, HOT])

    def read() -> CardReading:
        one = next(turns)
        if one is None:
            raise OSError("the driver was busy")
        return one

    with watched(read) as state:
        time.sleep(0.5)
    seen = state()
    assert seen.readings >= 4 and seen.seconds >= 0.5
    assert seen.watts == pytest.approx(180, rel=0.35) and "hardware slowdown" in seen.throttled
    count = seen.readings
    time.sleep(0.15)
    assert state().readings == count


def test_what_nvidia_smi_says() -> None:
    # As an H100 said it, idle.
    assert parse_smi("345, 2619, 32, 72.39, 0x0000000000000001\n") == CardReading(345, 2619, 32, 72.39, 1)
    with pytest.raises(ValueError, match="could not convert"):
        parse_smi("345, 2619, 32, [N/A], 0x0")


def test_nvml_gives_watts_of_milliwatts() -> None:
    clocks = {"sm": 1500, "mem": 6251}
    nvml = SimpleNamespace(
        NVML_CLOCK_SM="sm",
        NVML_CLOCK_MEM="mem",
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetClockInfo=lambda card, which: clocks[which],
        nvmlDeviceGetTemperature=lambda card, which: 55,
        nvmlDeviceGetPowerUsage=lambda card: 71_900,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda card: 4,
    )
    assert nvml_reader(nvml, "GPU-1")() == CardReading(1500, 6251, 55, 71.9, 4)
