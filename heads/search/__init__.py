"""Sweeps: a space of options in, the best of them out; trials train as stacks of heads on cached features."""

from heads.search.chosen_text import chosen_text
from heads.search.chosen_trial import ChosenTrial, judge_best
from heads.search.objectives import OBJECTIVES
from heads.search.samplers import Sampler, SamplerSetup
from heads.search.search_space import distribution_of, domain_ends, whole_only
from heads.search.sweep_options import Range, SweepOptions, load_sweep, sweep_schema
from heads.search.sweep_run import run_sweep, search
from heads.search.trial_outcomes import OutcomeFiles, TrialOutcomes, ValImages

__all__ = [
    "OBJECTIVES",
    "ChosenTrial",
    "OutcomeFiles",
    "Range",
    "Sampler",
    "SamplerSetup",
    "SweepOptions",
    "TrialOutcomes",
    "ValImages",
    "chosen_text",
    "distribution_of",
    "domain_ends",
    "judge_best",
    "load_sweep",
    "run_sweep",
    "search",
    "sweep_schema",
    "whole_only",
]
