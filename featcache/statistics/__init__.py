"""What holds against chance: honest limits, comparisons of many at once, figures corrected for having been chosen."""

from featcache.statistics.contender import Answers, Contender, Corrected
from featcache.statistics.intervals import figure_interval, wilson
from featcache.statistics.joint_comparison import JointComparison
from featcache.statistics.scores import Scores
from featcache.statistics.selection import correct_for_selection

__all__ = [
    "Answers",
    "Contender",
    "Corrected",
    "JointComparison",
    "Scores",
    "correct_for_selection",
    "figure_interval",
    "wilson",
]
