"""Weights of an average of probabilities: greedy ensemble selection with replacement, by the Brier score.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes 2004, "Ensemble selection from libraries of models"; the score is that
of Brier 1950. It is proper, so that it wants probabilities that are true and not only the largest in its place, and
bounded, so that no single image that a sure member gets wrong rules it, as log loss has it. It is also quadratic in the
weights: products of answers, summed over images once, say all that every round of the selection needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS = 25  # so that a weight is a multiple of 1/25 at the finest
SAME = 1e-12  # in the score: rounding must not choose

Weights = NDArray[np.float64]  # [K]


@dataclass(frozen=True, eq=False)
class BrierSums:
    """Of K members' probabilities on some images: `products` `[K, K]` of each two, and those `right` `[K]` of each
    with the labels, both summed over images, classes and seeds."""

    products: NDArray[np.float64]
    right: NDArray[np.float64]
    images: float  # times seeds

    @classmethod
    def of(cls, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> BrierSums:
        """Those of probabilities `[K, S, N, C]` on images of these labels `[N]`."""
        members, seeds, images, _ = probabilities.shape
        rows = probabilities.reshape(members, -1)
        true = probabilities[:, :, np.arange(images), labels]
        return cls(rows @ rows.T, true.sum(axis=(1, 2)), float(seeds * images))

    def without(self, part: BrierSums) -> BrierSums:
        """Those of the images that are not in a part."""
        return BrierSums(self.products - part.products, self.right - part.right, self.images - part.images)

    def scores(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The Brier score `[M]` of averages with weights `[M, K]`: from 0, where all is right and sure, to 2."""
        squares = np.einsum("mk,kl,ml->m", weights, self.products, weights)
        found: NDArray[np.float64] = (squares - 2 * weights @ self.right) / self.images + 1
        return found


def greedy_weights(sums: BrierSums, rounds: int = ROUNDS) -> Weights:
    """The weights `[K]`, with a sum of 1, that selection ends with.

    In each round the member is added, once more where it is in already, by which the average becomes best; of equal
    ones the first. Of all rounds the best counts, of equal ones the first.
    """
    members = len(sums.right)
    counts, kept, least = np.zeros(members), np.zeros(members), np.inf
    for number in range(1, rounds + 1):
        scores = sums.scores((counts + np.eye(members)) / number)
        added = int(np.flatnonzero(scores <= scores.min() + SAME)[0])
        counts[added] += 1
        if scores[added] < least - SAME:
            least, kept = float(scores[added]), counts / number
    return kept
