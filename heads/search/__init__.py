"""Sweeps: a space of options in, the best of them out; trials train as stacks of heads on cached features."""

from heads.search.samplers import Sampler, SamplerSetup
from heads.search.sweep_options import SweepOptions, load_sweep, sweep_schema
from heads.search.sweep_run import run_sweep, search

__all__ = [
    "Sampler",
    "SamplerSetup",
    "SweepOptions",
    "load_sweep",
    "run_sweep",
    "search",
    "sweep_schema",
]
