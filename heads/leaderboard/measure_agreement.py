"""How well each measure of separability orders backbones as their trained heads do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import kendalltau

FEWEST = 5  # backbones: of fewer the interval would be all that tau can be
Z95 = 1.959964
SLACK = 1.5  # pairs of backbones by which the interval is widened at either end


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau-b of one measure and the heads' accuracy over `n` backbones, with its 95% interval, and the
    probability of a tau as far from 0 by chance (`p`)."""

    measure: str
    tau: float
    low: float
    high: float
    n: int
    p: float


def agreement(measure: str, scores: Sequence[float | None], accuracies: Sequence[float]) -> Agreement | None:
    """Of the backbones that have a score; None where there are fewer than FEWEST, or all are equal in either.

    tau-b (Kendall 1945) counts ties. The interval is that of Fieller, Hartley and Pearson ("Tests for rank correlation
    coefficients. I", Biometrika 1957): artanh(tau) has a variance of 0.437 / (n - 4). Near 1 that is too narrow for the
    few steps that tau has, so that it is widened by SLACK pairs.
    """
    pairs = [(s, a) for s, a in zip(scores, accuracies, strict=True) if s is not None]
    n = len(pairs)
    if n < FEWEST or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    found = kendalltau(*zip(*pairs, strict=True))
    tau, step = float(found.statistic), 2 / (n * (n - 1))
    half = Z95 * math.sqrt(0.437 / (n - 4))

    def end(value: float, side: int) -> float:
        """`half` beyond `value`; 1 has no beyond, and the last step before it stands for it the other way."""
        if side * value >= 1 - step:
            return float(side)
        return math.tanh(math.atanh(max(-1 + step, min(1 - step, value))) + side * half)

    return Agreement(measure, tau, end(tau - SLACK * step, -1), end(tau + SLACK * step, 1), n, float(found.pvalue))
