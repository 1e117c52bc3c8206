"""A mean with its 95% interval, as the tables of benchmarks show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean, stdev

from scipy.stats import t


def interval(values: Sequence[float], form: str = ".3f") -> str:
    """Mean ± the half width of its 95% interval (Student's t); a single value as it is."""
    middle = mean(values)
    if len(values) < 2:
        return f"{middle:{form}}"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{middle:{form}} ± {half:.3f}"
