"""A store as `cache list` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class Entry:
    """One store as `cache list` shows it."""

    path: Path  # what it is called in the cache's folder
    backbone: str
    input_size: int | None
    weights: str
    dtype: str
    rows: int
    views: int  # rows of augmented views
    datasets: tuple[str, ...]
    size_bytes: int  # with rows that are committed and not yet folded in
    created: str
    idle_seconds: float  # since a command last used it
    fault: str  # why it cannot be read; "" where it can
    parts: int = 0  # of a sharded store
    where: str = ""  # where that is

    @property
    def idle_days(self) -> float:
        """Days since a command last used it."""
        return self.idle_seconds / SECONDS_PER_DAY
