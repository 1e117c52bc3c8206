"""Finished runs combined: the average of their probabilities, by weights fitted on validation, as a run of its own."""

from heads.combine.combined_runs import combine_runs, default_name, runs_on_top
from heads.combine.greedy_selection import ROUNDS

__all__ = ["ROUNDS", "combine_runs", "default_name", "runs_on_top"]
