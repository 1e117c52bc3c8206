"""The second judge: logistic regression on cached features, its strength of penalty chosen by inner folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.separability.grouping import Ints, deal, together
from featcache.separability.logistic_regression import Bits, LogisticProblems, Matrix, PrincipalAxes
from featcache.separability.ridge_probe import FOLDS, SEED
from featcache.separability.small_products import few_threads

GRID = 10.0 ** np.arange(-1, 6.5, 0.5)  # C, for features whose mean squared length is 1: 0.1 to 1e6
PAST = 2  # values of C beyond the best at which the search ends: the loss has one valley
MOST_SCORES = 100_000  # images x classes that are looked at: time grows with both
SMALL = 10**8  # multiply-adds of a step of all problems: 5 ms on one thread
LEAST_IMAGES = 5  # of a class, on average, that a sample of so many has to leave


@dataclass(frozen=True, eq=False)
class LogisticProbe:
    """What logistic regression says of labelled features."""

    looked: Ints  # places of the images that were looked at [n]: all, or the same sample for every backbone
    right: Bits  # which of them are classified right out of fold [n]
    c: float  # chosen for a model of them all
    axes: PrincipalAxes
    weights: Matrix  # of that model, along the axes, the intercept last [K, R + 1]
    labels: Ints  # of its classes [K]

    def answers(self, features: NDArray[np.float32]) -> Ints:
        """The labels `[M]` that the model of all images gives other features `[M, F]`."""
        scores = self.axes.place(features) @ self.weights[:, :-1].T + self.weights[:, -1]
        found: Ints = self.labels[scores.argmax(axis=1)]
        return found


def logistic_probe(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> float | None:
    """Share of images, 0 to 1, that multinomial logistic regression gets right in 5 stratified folds; larger is better.

    Features `[N, F]` of labels `[N]`, centred and over their common root mean square length, with an L2 penalty, by
    L-BFGS; its strength C is searched as in the linear probes of CLIP (Radford et al. 2021, appendix A.3) and DINOv2
    (Oquab et al. 2023): the value of GRID with the lowest cross-entropy. Nested: what chooses the C of a fold are two
    others, each by a model that was trained without either. It depends on neither the features' scale nor their
    rotation.

    Folds, groups and when it is None are those of `linear_probe`. Where images times classes exceed MOST_SCORES a
    sample is looked at, and where that leaves fewer than LEAST_IMAGES of a class it is None too.
    """
    found = probe_logistic(features, labels, groups=groups)
    return None if found is None else float(found.right.mean())


def probe_logistic(features: NDArray[np.float32], labels: Ints, *, groups: Ints | None = None) -> LogisticProbe | None:
    """`logistic_probe` image by image, with the model of all images; None where that is."""
    assert len(features) == len(labels) > 0
    names, numbers = np.unique(labels, return_inverse=True)
    looked = _looked(len(labels), len(names))
    units, classes = together(features, groups)[looked], numbers[looked].astype(np.int64)
    sampled = len(looked) < len(labels)
    if len(names) == 1 or units.max() == units.min() or (sampled and len(looked) < LEAST_IMAGES * len(names)):
        return None
    fold = deal(classes, units, FOLDS, SEED)
    search = _Search.of(PrincipalAxes.of(features[looked]), classes, units, fold)
    outer = np.append(np.arange(int(fold.max()) + 1), -1)  # -1: no fold is left out
    problems = LogisticProblems(search.problems.axes, classes, fold != outer[:, None])
    with few_threads(len(outer) * len(names) * search.problems.axes.x.size, SMALL):
        chosen, start = search.run()
        weights = problems.fit(GRID[chosen], start)
        answers: Ints = np.argmax(problems.scores(weights), axis=0)
    c = float(GRID[chosen[-1]])
    right: Bits = np.equal(answers[fold, np.arange(len(fold))], classes)
    return LogisticProbe(looked, right, c, search.problems.axes, weights[:, -1], names)


def _looked(images: int, classes: int) -> Ints:
    """Which images `[n]`, in order: all, or a sample that depends on how many there are, and on nothing else."""
    most = MOST_SCORES // classes
    every = np.arange(images)
    return every if images <= most else np.sort(np.random.default_rng(SEED).permutation(images)[:most])


@dataclass(frozen=True, eq=False)
class _Search:
    """For each outer fold, and for all images, which C is best by folds that are left out within."""

    problems: LogisticProblems  # P inner ones
    judged: Bits  # [F + 1, P, N]: which images of which inner problem judge for an outer fold; the last: for all

    @classmethod
    def of(cls, axes: PrincipalAxes, classes: Ints, units: Ints, fold: Ints) -> _Search:
        """With three folds or more each inner problem leaves out two neighbours, and each judges for the other."""
        folds = int(fold.max()) + 1
        if folds > 2:
            after = (np.arange(folds) + 1) % folds
            pairs = [(f, int(g)) for f, g in enumerate(after)]
            trains = np.stack([(fold != f) & (fold != g) for f, g in pairs])
            judged = np.zeros((folds, folds, len(fold)), dtype=np.bool_)
            for number, (f, g) in enumerate(pairs):
                judged[f, number], judged[g, number] = fold == g, fold == f
        else:  # halves of what is left
            trains, judged = np.zeros((4, len(fold)), dtype=np.bool_), np.zeros((2, 4, len(fold)), dtype=np.bool_)
            for f in range(2):
                (rest,) = np.nonzero(fold != f)
                half = deal(classes[rest], units[rest], 2, SEED)
                for h in range(2):
                    trains[2 * f + h, rest[half != h]] = True
                    judged[f, 2 * f + h, rest[half == h]] = True
        every: Bits = np.any(judged, axis=0, keepdims=True)
        return cls(LogisticProblems(axes, classes, trains), np.concatenate([judged, every]))

    def run(self) -> tuple[Ints, Matrix]:
        """The place in GRID of each `[F + 1]`, and weights to begin with there `[K, F + 1, R + 1]`.

        From the strongest penalty on, each from the weights of the one before.
        """
        losses: list[NDArray[np.float64]] = []
        fitted: list[Matrix] = []
        for c in GRID:
            weights = self.problems.fit(np.full(len(self.problems.trains), c), fitted[-1] if fitted else None)
            fitted.append(weights)
            losses.append((self.judged * self.problems.losses(weights)).sum(axis=(1, 2)))
            best = np.stack(losses).argmin(axis=0)
            if len(losses) - 1 - best.max() >= PAST:
                break
        near = [np.flatnonzero(judges.any(axis=1)) for judges in self.judged]
        start = [fitted[place][:, own].mean(axis=1) for place, own in zip(best, near, strict=True)]
        return best, np.stack(start, axis=1)
