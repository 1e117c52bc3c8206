"""Multinomial logistic regression by L-BFGS: several problems on the same images side by side; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from featcache.separability.grouping import Ints
from featcache.separability.spectrum import gram_eigen

TOLERANCE = 3e-3  # largest slope at the end, along directions that are scaled to a curvature near 1; losses are sums
ITERATIONS = 500

Matrix = NDArray[np.float64]
Bits = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Features along the axes that they vary along: centred, turned, and over their root mean square length.

    With an intercept and an L2 penalty neither the origin nor a rotation matters to logistic regression, so that of F
    features min(N - 1, F) remain, exactly; the common scale makes C mean the same for every backbone.
    """

    x: Matrix  # [N, R]
    curvatures: NDArray[np.float64]  # squared length of each column [R]
    mean: NDArray[np.float64]  # of the features [F]
    turn: Matrix  # [F, R]: of centred features to x

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> PrincipalAxes:
        """Of features `[N, F]`, by an eigendecomposition of their smaller Gram matrix."""
        x = features - features[0].astype(np.float64)  # exactly 0 where all images have the same
        mean = x.mean(axis=0)
        x -= mean
        energies, vectors, dual = gram_eigen(x)
        scale = np.sqrt(energies.sum() / len(x)) or 1.0
        turn = (x.T @ vectors) / np.sqrt(energies) if dual else vectors
        turned = vectors * np.sqrt(energies) if dual else x @ vectors
        return cls(turned / scale, energies / scale**2, mean + features[0], turn / scale)

    def place(self, features: NDArray[np.float32]) -> Matrix:
        """Other features `[M, F]` along the same axes `[M, R]`."""
        return (features - self.mean) @ self.turn


@dataclass(frozen=True, eq=False)
class LogisticProblems:
    """P problems: each the logistic regression of `classes` `[N]` (0 to K - 1) on those of the images that it trains
    on, `trains` `[P, N]`.

    They are minimised as one, which takes one matrix product for all: the loss of each is summed over its images, plus
    the squared length of its weights over 2 C, as in scikit-learn; intercepts are not penalised.
    """

    axes: PrincipalAxes
    classes: Ints
    trains: Bits

    def fit(self, c: NDArray[np.float64], start: Matrix | None = None) -> Matrix:
        """Weights `[K, P, R + 1]`, the last being the intercept, at the C of each problem `[P]`, from `start` on.

        L-BFGS (Liu and Nocedal 1989) in coordinates in which each direction has about the same curvature: along
        principal axes that of the loss is known but for how sure the answers are, which `start` says.
        """
        shape = (int(self.classes.max()) + 1, len(self.trains), self._inputs.shape[1])
        weights = np.zeros(shape) if start is None else start
        penalty = np.zeros(shape[1:])
        penalty[:, :-1] = 1 / c[:, None]
        unsure = self._unsure(weights)[:, None] * np.append(self.axes.curvatures, len(self.classes))
        scale = np.sqrt(unsure + penalty)

        def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            now = flat.reshape(shape) / scale
            value, slope = self._loss(now)
            pull = penalty * now
            return value + float((pull * now).sum()) / 2, ((slope + pull) / scale).ravel()

        found = minimize(
            loss,
            (weights * scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS, "gtol": TOLERANCE, "ftol": 0.0},
        )
        fitted: Matrix = found.x.reshape(shape) / scale
        return fitted

    def scores(self, weights: Matrix) -> Matrix:
        """Logits of every image by every problem `[K, P, N]`."""
        flat = weights.reshape(-1, weights.shape[-1]) @ self._inputs.T
        return flat.reshape(*weights.shape[:2], -1)

    def losses(self, weights: Matrix) -> Matrix:
        """Cross-entropy in nats of every image by every problem `[P, N]`."""
        scores = self.scores(weights)
        return _log_sum(scores) - self._own(scores)

    def _loss(self, weights: Matrix) -> tuple[float, Matrix]:
        """The summed cross-entropy of all problems, and its slope `[K, P, R + 1]`."""
        scores = self.scores(weights)
        total = _log_sum(scores)
        value = float((total - self._own(scores))[self.trains].sum())
        scores -= total
        np.exp(scores, out=scores)  # now probabilities
        scores -= self._targets[:, None]
        scores *= self.trains
        return value, (scores.reshape(-1, scores.shape[-1]) @ self._inputs).reshape(weights.shape)

    def _unsure(self, weights: Matrix) -> NDArray[np.float64]:
        """The mean of p (1 - p) of each problem `[P]`: the curvature of the loss along a feature of length 1."""
        scores = self.scores(weights)
        p = np.exp(scores - _log_sum(scores))
        unsure = ((p * (1 - p)).mean(axis=0) * self.trains).sum(axis=1)
        mean: NDArray[np.float64] = unsure / np.maximum(self.trains.sum(axis=1), 1)
        return np.maximum(mean, 1e-4)

    def _own(self, scores: Matrix) -> Matrix:
        """Of each image the logit of its own class `[P, N]`."""
        own: Matrix = scores[self.classes, :, np.arange(len(self.classes))].T
        return own

    @cached_property
    def _inputs(self) -> Matrix:
        return np.hstack([self.axes.x, np.ones((len(self.axes.x), 1))])

    @cached_property
    def _targets(self) -> Matrix:
        return np.eye(int(self.classes.max()) + 1)[:, self.classes]


def _log_sum(scores: Matrix) -> Matrix:
    """The log of the sum of exponentials over classes `[P, N]` of `[K, P, N]`."""
    most = scores.max(axis=0)
    total: Matrix = most + np.log(np.exp(scores - most).sum(axis=0))
    return total
