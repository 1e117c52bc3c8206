"""Finished runs combined: the average of their probabilities, by weights fitted on validation, as a run of its own."""

from heads.combine.combination import Answered
from heads.combine.combined_runs import combine_runs, default_name, runs_on_top
from heads.combine.comparisons import COMPARED, paired_difference
from heads.combine.fitted_weights import parts_of
from heads.combine.greedy_selection import ROUNDS
from heads.combine.members import in_order_of

__all__ = [
    "COMPARED",
    "ROUNDS",
    "Answered",
    "combine_runs",
    "default_name",
    "in_order_of",
    "paired_difference",
    "parts_of",
    "runs_on_top",
]
