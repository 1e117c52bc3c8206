"""Leaderboards with a known truth: networks as good as each other, or one better, with correlated errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from featcache.statistics import Contender, JointComparison, Scores, correct_for_selection

SHARED, OWN, SEED, EPOCH = 0.50, 0.28, 0.15, 0.07  # of an image's difficulty: for all, a network, a seed, an epoch
SEEDS, EPOCHS = 3, 8
TOP3 = 0.2  # of the errors are errors in top-3 too
PAIR = 1.959964  # standard errors: what the rule for a single pair calls a lead


@dataclass(frozen=True)
class Cell:
    """Networks, images, accuracy of the best, and by how many standard errors of a difference it is better; `luck` is
    the standard deviation by which a whole seed finds all images easier or harder (their difficulty has 1)."""

    networks: int
    images: int
    accuracy: float
    better: float = 0.0
    luck: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """What is right `[K, S, E, N]` in top-1, and in top-3."""
        shape = (self.networks, SEEDS, EPOCHS, self.images)
        difficulty = np.sqrt(SHARED) * rng.standard_normal(self.images, np.float32)
        difficulty = difficulty + np.sqrt(OWN) * rng.standard_normal((self.networks, 1, 1, self.images), np.float32)
        difficulty = difficulty + np.sqrt(SEED) * rng.standard_normal((*shape[:2], 1, self.images), np.float32)
        difficulty = difficulty + np.sqrt(EPOCH) * rng.standard_normal(shape, np.float32)
        difficulty += np.float32(self.luck) * rng.standard_normal((*shape[:2], 1, 1), np.float32)
        spread = np.sqrt(1 + self.luck**2)
        shares = (self.truth, 1 - TOP3 * (1 - self.truth))
        top1, top3 = (
            difficulty < (spread * norm.ppf(share)).astype(np.float32)[:, None, None, None] for share in shares
        )
        return top1, top3

    @property
    def truth(self) -> NDArray[np.float64]:
        """The accuracy of each network `[K]`, the same in every epoch: the first is the best."""
        others = _worse(self.accuracy, self.images, self.better) if self.better else self.accuracy
        return np.array([self.accuracy] + [others] * (self.networks - 1))


@lru_cache
def _worse(accuracy: float, images: int, better: float) -> float:
    """The accuracy that is worse by `better` standard errors of the difference of two networks' means over seeds."""
    low, high = 0.01, accuracy
    for _ in range(14):
        middle = (low + high) / 2
        cell = Cell(2, 40_000, accuracy)
        rng = np.random.default_rng(1)
        x = np.sqrt(SHARED) * rng.standard_normal(cell.images)
        x = x + np.sqrt(OWN) * rng.standard_normal((2, 1, cell.images))
        x = x + np.sqrt(SEED + EPOCH) * rng.standard_normal((2, SEEDS, cell.images))
        right = (x < norm.ppf([accuracy, middle])[:, None, None]).mean(axis=1)
        apart = right[0] - right[1]
        worse = (accuracy - middle) / (apart.std() / np.sqrt(images)) > better
        low, high = (middle, high) if worse else (low, middle)
    return low


@dataclass(frozen=True)
class Board:
    """What one board says, and whether it is true."""

    false_lead: bool  # of one network over another that is as good
    false_lead_by_pairs: bool  # by the rule for a single pair, of the first
    found: bool  # the better one is first, and ahead of another
    found_by_pairs: bool
    best_in_set: bool  # the first network, which is the best or one of equals: no other may stand in for it
    set_size: int
    false_lead_of_two: bool  # ranked by top-3, then top-1, in either
    found_of_two: bool
    best_in_set_of_two: bool
    error_found: float  # of the winner's figure as found
    error: float  # of the corrected one
    luck: float  # of the images, by how much all networks in all epochs are better on them than in truth: 0 in the mean
    covers_found: bool
    covers: bool


def simulate(cell: Cell, rng: np.random.Generator) -> Board:
    """Draw a board, choose epochs and the best, and look what is said of them."""
    (right, top3), truth = cell.draw(rng), cell.truth
    chosen = right.mean(axis=3).argmax(axis=2)
    kept = np.take_along_axis(right, chosen[:, :, None, None], axis=2)[:, :, 0].astype(np.float64)
    units = tuple(map(str, range(cell.images)))
    scores = [Scores(values, units) for values in kept]
    compared = JointComparison({"top1": scores})
    means = np.array([s.mean for s in scores])
    second = rng.random(cell.networks) * 1e-7  # stands for the loss, which breaks ties
    best = int((means + second).argmax())
    leads, may = compared.leads("top1"), compared.may_be_best()
    deviation = np.array([compared.standard_error("top1", best, k) for k in range(cell.networks)])
    by_pairs = means[best] - means > PAIR * np.maximum(deviation, 1e-12)
    fold = np.zeros(cell.images, np.int64)
    allowed = np.ones((1, SEEDS, 1, EPOCHS), np.bool_)
    contenders = [
        Contender(r[None], s, fold, allowed, np.full(cell.images, tie))
        for r, s, tie in zip(right, scores, second, strict=True)
    ]
    corrected = correct_for_selection(contenders, best, ["top1"])["top1"]
    low, high = _percentiles(kept[best])
    equal = np.isclose(truth[:, None], truth)
    kept3 = np.take_along_axis(top3, chosen[:, :, None, None], axis=2)[:, :, 0].astype(np.float64)
    both = JointComparison({"top3": [Scores(values, units) for values in kept3], "top1": scores})
    of_two, may_of_two = both.leads("top3") | both.leads("top1"), both.may_be_best(("top3", "top1"))
    return Board(
        bool((leads & equal).any()),
        bool((by_pairs & equal[best]).any()),
        best == 0 and bool(leads[0].any()),
        best == 0 and bool(by_pairs.any()),
        bool(may[0]),
        int(may.sum()),
        bool((of_two & equal).any()),
        bool(of_two[0].any()),
        bool(may_of_two[0]),
        corrected.found - float(truth[best]),
        corrected.mean - float(truth[best]),
        float(right.mean() - truth.mean()),
        low <= truth[best] <= high,
        corrected.low <= truth[best] <= corrected.high,
    )


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """The plain interval of the winner's figure, as if nobody had chosen it."""
    spread = values.mean(axis=0).std() / np.sqrt(values.shape[1])
    return values.mean() - PAIR * spread, values.mean() + PAIR * spread
