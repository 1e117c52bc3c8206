"""What holds against chance: honest limits, comparisons of many at once, figures corrected for having been chosen."""

from featcache.statistics.intervals import effective_images, figure_interval, wilson
from featcache.statistics.joint_comparison import JointComparison
from featcache.statistics.sample_size import images_needed
from featcache.statistics.scores import Scores, seed_variances
from featcache.statistics.selection import Contender, Corrected, correct_for_selection, selection_spread

__all__ = [
    "Contender",
    "Corrected",
    "JointComparison",
    "Scores",
    "correct_for_selection",
    "effective_images",
    "figure_interval",
    "images_needed",
    "seed_variances",
    "selection_spread",
    "wilson",
]
