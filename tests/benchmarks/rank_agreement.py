"""How well scores order feature maps as accuracies do, over boards, with intervals: for `bin/bench measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Scored:
    """One board: the accuracy of each feature map `[M]` and its scores `[M]` by measure."""

    accuracy: Vector
    scores: Mapping[str, Vector]


@dataclass(frozen=True)
class Standing:
    """One measure over all boards; each interval is of 95%."""

    measure: str
    tau: float  # Kendall's tau-b, the mean of the boards
    low: float
    high: float
    weighted: float  # weighted tau
    behind: tuple[float, float, float]  # tau less that of the reference, with its interval
    regret: float  # accuracy lost by taking the map with the largest score, the mean of the boards
    each: tuple[float, ...]  # tau of each board


def standings(boards: Sequence[Scored], reference: str) -> list[Standing]:
    """One for each measure, the largest tau first.

    Intervals are percentiles of a bootstrap in two steps, boards and then the feature maps of each, the same draws for
    every measure. A map that is drawn twice is tied with itself in both rankings, which tau-b leaves out.
    """
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(boards), (DRAWS, len(boards)))
    drawn = [rng.integers(0, len(b.accuracy), (DRAWS, len(boards), len(b.accuracy))) for b in boards]
    tau = {name: _drawn(boards, name, chosen, drawn) for name in boards[0].scores}
    found = []
    for name in boards[0].scores:
        each = tuple(float(taus(b.scores[name], b.accuracy)) for b in boards)
        other = [float(taus(b.scores[reference], b.accuracy)) for b in boards]
        low, high = np.percentile(tau[name], [2.5, 97.5])
        lower, upper = np.percentile(tau[name] - tau[reference], [2.5, 97.5])
        found.append(
            Standing(
                name,
                float(np.mean(each)),
                float(low),
                float(high),
                float(np.mean([taus(b.scores[name], b.accuracy, weighted=True) for b in boards])),
                (float(np.mean(each) - np.mean(other)), float(lower), float(upper)),
                float(np.mean([regret(b.scores[name], b.accuracy) for b in boards])),
                each,
            )
        )
    return sorted(found, key=lambda one: -one.tau)


def _drawn(
    boards: Sequence[Scored], name: str, chosen: NDArray[np.int64], drawn: Sequence[NDArray[np.int64]]
) -> Vector:
    """Mean tau of each draw `[DRAWS]`."""
    values = np.empty(chosen.shape)
    for number, (board, maps) in enumerate(zip(boards, drawn, strict=True)):
        here = chosen == number
        index = maps[here]
        values[here] = taus(board.scores[name][index], board.accuracy[index])
    mean: Vector = np.mean(values, axis=1)
    return mean


def regret(scores: Vector, accuracy: Vector) -> float:
    """Accuracy lost by taking the map with the largest score; of several, their mean."""
    return float(accuracy.max() - accuracy[scores == scores.max()].mean())


def taus(scores: Vector, accuracy: Vector, *, weighted: bool = False) -> Vector:
    """Kendall's tau-b along the last axis `[..., M]`, or Vigna's weighted tau (WWW 2015) with hyperbolic weights."""
    s = np.sign(scores[..., :, None] - scores[..., None, :])
    a = np.sign(accuracy[..., :, None] - accuracy[..., None, :])
    if not weighted:
        return _cosine(s, a, np.ones(1))
    both = [_cosine(s, a, _weights(one, other)) for one, other in ((scores, accuracy), (accuracy, scores))]
    return (both[0] + both[1]) / 2


def _cosine(s: Vector, a: Vector, weights: Vector) -> Vector:
    product, of_s, of_a = ((weights * v).sum(axis=(-1, -2)) for v in (s * a, s * s, a * a))
    scale = np.sqrt(of_s * of_a)
    found: Vector = product / np.where(scale > 0, scale, 1)  # all equal: no order, 0
    return found


def _weights(first: Vector, second: Vector) -> Vector:
    """1 / rank of both of a pair `[..., M, M]`, added; ranked by the largest of `first`, equals by `second`."""
    order = np.lexsort((-second, -first), axis=-1)
    weight = 1 / (1 + np.argsort(order, axis=-1))
    pairs: Vector = weight[..., :, None] + weight[..., None, :]
    return pairs
