"""What whole commands would take for some configs: predicted from what each of them was timed to take, and said."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.counted_nouns import counted

if TYPE_CHECKING:
    from featcache.extraction import CostEstimate
    from heads.finetune import FineTuningTime
    from heads.head_times import HeadsTime


@dataclass(frozen=True)
class PredictedTimes:
    """Of one config: stage one of each backbone, and what comes after it: heads on cached features, or Phase 2."""

    estimates: tuple[CostEstimate, ...]
    heads: HeadsTime | None
    phase2: FineTuningTime | None

    @property
    def after(self) -> float:
        """Seconds of what comes after stage one."""
        return sum(one.total for one in (self.heads, self.phase2) if one is not None)

    def lines(self) -> list[str]:
        """For people; one for each part."""
        found = []
        for one in self.estimates:
            taken = one.time
            name = f"{one.backbone}: " if len(self.estimates) > 1 else ""
            found.append(
                f"{name}extraction about {taken.total:.1f} s: {taken.begin:.1f} to begin, {taken.profile:.1f} for "
                f"the profile, {taken.decode:.1f} decoding, {taken.forward:.1f} forward passes, "
                f"{taken.store:.1f} writing"
            )
        if self.heads is not None:
            heads = self.heads
            found.append(
                f"{counted(heads.heads, 'head')}, {counted(heads.epochs, 'epoch')}: about {heads.training:.1f} s; "
                f"separability {heads.measuring:.1f} s"
            )
        if self.phase2 is not None:
            found += _phase2_lines(self.phase2)
        return found


def _phase2_lines(phase2: FineTuningTime) -> list[str]:
    found = []
    for stage in phase2.stages:
        what = ", ".join([*stage.blocks, "head"])
        once = f", and {stage.once:.1f} s once for what comes before" if stage.once else ""
        found.append(f"{counted(stage.epochs, 'epoch')} of {what}: about {stage.epoch:.2f} s each{once}")
    each = f" for each of {phase2.seeds} seeds" if phase2.seeds > 1 else ""
    return [*found, f"these{each}, parity and test: about {phase2.total:.1f} s"]


def seconds_since_start() -> float:
    """Of this process until now: where the system does not say when it began, the time that it had a processor."""
    try:
        began = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]  # clock ticks since the boot
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(began) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return time.process_time()


def command_seconds(configs: list[PredictedTimes], start: float) -> dict[str, float]:
    """Seconds of `extract` and of what trains, for all of these configs in one command: what they decode alike is
    decoded once. `start` is until a command begins its work."""
    decoded: set[str] = set()
    extract = start
    for estimate in (one for config in configs for one in config.estimates):
        extract += estimate.time.total
        if estimate.decoded_as in decoded:
            extract -= estimate.time.decode
        decoded.add(estimate.decoded_as)
    trains = "train" if all(config.phase2 is None for config in configs) else "finetune"
    return {"extract": extract, trains: extract + sum(config.after for config in configs)}


def commands_line(seconds: dict[str, float], configs: int) -> str:
    """The whole commands, for people."""
    each = ", ".join(f"`{name}` about {value:.0f} s" for name, value in seconds.items())
    return f"from an empty cache, {'all of them' if configs > 1 else 'in all'}: {each}"
