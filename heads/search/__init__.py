"""Searches over options, whose trials train as stacks on cached features."""

from heads.search.sweep_options import SweepOptions, load_sweep, sweep_schema
from heads.search.sweep_run import SweepResult, run_sweep, search

__all__ = [
    "SweepOptions",
    "SweepResult",
    "load_sweep",
    "run_sweep",
    "search",
    "sweep_schema",
]
