"""Which images a person should label next: those that the model is least sure of.

Source: Settles 2009, "Active learning literature survey", section 3.1.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy

from heads.predict.predictor import Prediction

# How sure the model is, lowest first, by probabilities `[C]`.
DOUBTS: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "margin": lambda p: float(np.diff(np.sort(p)[-2:])[0]),  # between the two likeliest classes
    "entropy": lambda p: -float(entropy(p)),
}


def most_worth_labelling(predictions: Iterable[Prediction], count: int, by: str) -> list[Prediction]:
    """The `count` images of different content that the model is least sure of, the least first; what cannot be read is
    not among them."""
    sure = DOUBTS[by]
    distinct: dict[str, tuple[float, int, Prediction]] = {}
    for number, one in enumerate(predictions):
        if one.probabilities is not None and one.sha256 not in distinct:
            distinct[one.sha256] = (sure(one.probabilities), number, one)
    return [one for _, _, one in heapq.nsmallest(count, distinct.values())]
