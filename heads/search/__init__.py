"""Searches over options, whose trials train as stacks on cached features."""

from heads.search.options import SweepOptions, load_sweep
from heads.search.sweep import SweepResult, run_sweep

__all__ = ["SweepOptions", "SweepResult", "load_sweep", "run_sweep"]
