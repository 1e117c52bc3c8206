"""LogME: how well a linear model explains the labels from cached features, without training one; no torch, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.separability.spectrum import gram_eigen

ITERATIONS = 100  # of the fixed point, which takes about ten where the evidence has a clear peak
TOLERANCE = 1e-6  # relative change of a ratio below which it stands still
FINEST = float(np.finfo(np.float32).eps) ** 2  # float32 features carry no finer noise than this share of their energy

Vector = NDArray[np.float64]


def logme(features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The log evidence per sample, in nats, of features `[N, F]` for labels `[N]`, averaged over one-hot classes.

    LogME (You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021): for each
    class the evidence of `y = X w + noise`, w ~ N(0, I / alpha), noise ~ N(0, I / beta), at the best alpha and beta. It
    depends on neither the features' scale nor their rotation; a larger value means classes that are easier to separate
    linearly. Like theirs it centres nothing. Classes without a sample do not count. Time as N F min(N, F), memory a few
    times that of the features in float64.
    """
    assert len(features) == len(labels) > 0
    targets = (labels[:, None] == np.unique(labels)).astype(np.float64)
    x = features.astype(np.float64)
    energies, vectors, dual = gram_eigen(x)
    along = vectors.T @ targets if dual else (vectors.T @ (x.T @ targets)) / np.sqrt(energies)[:, None]
    inside = vectors @ along if dual else x @ (vectors @ (along / np.sqrt(energies)[:, None]))
    outside = ((targets - inside) ** 2).sum(axis=0)  # as a difference of squares it would cancel
    evidence = _Evidence(len(labels), energies[:, None], along**2, outside)
    return float(evidence.largest().mean() / len(labels))


@dataclass(frozen=True)
class _Evidence:
    """The evidence of K targets as a function of `t = alpha / beta` `[K]`; for each t the best beta is known.

    In the basis of the features' left singular vectors everything is a sum over R squared singular values; the fixed
    point in t is that of You et al., "Ranking and Tuning Pre-trained Models", JMLR 2022.
    """

    samples: int  # N
    energies: Vector  # squared singular values [R, 1], all above 0
    inside: Vector  # squares of the targets' parts along the left singular vectors [R, K]
    outside: Vector  # squared norm of what of a target lies in none of them [K]

    def largest(self) -> Vector:
        """At the best t of each target `[K]`.

        Starts at the best power of ten, since there can be several peaks, and takes the fixed point from there. It can
        run off to either end, where the evidence has a limit: t stays within what float32 features can tell apart.
        """
        if not len(self.energies):
            return self.at(np.ones_like(self.outside))
        scale = self.energies.max()
        low, high = scale * FINEST, scale / FINEST
        starts = scale * 10.0 ** np.arange(np.ceil(np.log10(FINEST)), -np.log10(FINEST))
        tried = np.stack([self.at(np.full_like(self.outside, start)) for start in starts])
        best: Vector = tried.max(axis=0)
        t = starts[tried.argmax(axis=0)]
        for _ in range(ITERATIONS):
            before, t = t, np.clip(self.step(t), low, high)
            best = np.maximum(best, self.at(t))  # a step need not go up
            if (np.abs(t - before) <= TOLERANCE * before).all():
                break
        return best

    def at(self, t: Vector) -> Vector:
        """Log evidence `[K]`: that of y ~ N(0, (I + X X^T / t) / beta) at the best beta."""
        misfit = (t / (t + self.energies) * self.inside).sum(axis=0) + self.outside  # beta's share left out
        beta = self.samples / misfit
        spread = np.log1p(self.energies / t).sum(axis=0)
        result: Vector = (self.samples * (np.log(beta / (2 * np.pi)) - 1) - spread) / 2
        return result

    def step(self, t: Vector) -> Vector:
        """What alpha = gamma / |m|^2 and beta = (N - gamma) / |X m - y|^2 make of t `[K]` (ICML 2021, section 4)."""
        gamma = (self.energies / (t + self.energies)).sum(axis=0)
        left = (t / (t + self.energies)).sum(axis=0) + self.samples - len(self.energies)  # N - gamma
        residual = ((t / (t + self.energies)) ** 2 * self.inside).sum(axis=0) + self.outside
        weights = (self.energies / (t + self.energies) ** 2 * self.inside).sum(axis=0)  # |m|^2
        with np.errstate(divide="ignore"):  # features at right angles to a target: t has no bound
            ratio: Vector = gamma / left * (residual / weights)
        return ratio
