"""Figures of a benchmark as records, for pages: one JSON line each in the file that FEATCACHE_FIGURES names, if any."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any


def figure(what: str, values: Sequence[float], unit: str) -> None:
    """The median of these, with the smallest, the largest and how many they are."""
    ordered = sorted(values)
    spread = {"low": ordered[0], "high": ordered[-1], "n": len(ordered)}
    _write({"what": what, "value": median(ordered), "unit": unit, **spread})


def state(benchmark: str, outcome: str, seconds: float, why: str) -> None:
    """That a benchmark ran, failed or did not run."""
    _write({"benchmark": benchmark, "outcome": outcome, "seconds": round(seconds, 1), "why": why})


def _write(record: dict[str, Any]) -> None:
    file = os.environ.get("FEATCACHE_FIGURES")
    if file:
        with Path(file).open("a") as lines:
            lines.write(json.dumps({"benchmark": os.environ.get("FEATCACHE_BENCHMARK", ""), **record}) + "\n")
