"""Which images a person should label next: those that the model is least sure of.

Source: Settles 2009, "Active learning literature survey", section 3.1.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

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
    return [one for _, _, one in heapq.nsmallest(count, _distinct(predictions, DOUBTS[by]))]


def _distinct(
    predictions: Iterable[Prediction], sure: Callable[[NDArray[np.float64]], float]
) -> Iterator[tuple[float, int, Prediction]]:
    """The first of each content. What many are in memory for, their features, is dropped: of a million images too no
    more is kept than the hashes of their contents."""
    seen: set[str] = set()
    for number, one in enumerate(predictions):
        if one.probabilities is not None and one.sha256 not in seen:
            seen.add(one.sha256)
            yield sure(one.probabilities), number, replace(one, probabilities=one.probabilities.copy(), features=None)
