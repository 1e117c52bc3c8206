"""How well each measure of separability orders backbones as their trained heads do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau

# What is compared; `n` counts images, and effective_rank knows no labels but is shown beside the others all the same.
MEASURES = (
    "linear_probe",
    "knn_accuracy",
    "centroid_accuracy",
    "logme",
    "h_score",
    "fisher_ratio",
    "silhouette",
    "effective_rank",
)
FEWEST = 5  # backbones: of fewer the interval would be all that tau can be
Z95 = 1.959964


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b of one measure and the heads' accuracy over `n` backbones, with its 95% interval."""

    measure: str
    tau: float
    low: float
    high: float
    n: int


def agreement(measure: str, scores: Sequence[float | None], accuracies: Sequence[float]) -> Agreement | None:
    """Of the backbones that have a score; None where there are fewer than FEWEST, or all are equal in either.

    tau-b (Kendall 1945) counts ties. The interval is that of Fieller, Hartley and Pearson ("Tests for rank correlation
    coefficients. I", Biometrika 1957): artanh(tau) has a variance of 0.437 / (n - 4). At tau = 1 it has no end, so half
    a pair out of order is taken there.
    """
    pairs = [(s, a) for s, a in zip(scores, accuracies, strict=True) if s is not None]
    n = len(pairs)
    if n < FEWEST or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    most = 1 - 2 / (n * (n - 1))
    middle, half = math.atanh(max(-most, min(most, tau))), Z95 * math.sqrt(0.437 / (n - 4))
    return Agreement(measure, tau, min(tau, math.tanh(middle - half)), max(tau, math.tanh(middle + half)), n)
