"""Which images and which classes every backbone gets wrong, a matter of the data, and which some do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, hypergeom

from heads.redundancy.answers import Answers, Flags

FEWEST = 3  # backbones: what only two have in common says little of the data
PAIRS = 12  # pairs of classes that are looked at, those with the most confusions
DRAWS = 9999  # of the permutation test
BLOCK = 500  # of them at once
MANY = 100  # images that some backbones confuse, from which on the test's limit is as good
CHANCE = 0.05  # a test's probability below which something is said

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CommonError:
    """An image that no backbone gets right."""

    image: str
    label: int
    said: int  # the class that most of them say
    by: int  # how many of them say that


@dataclass(frozen=True)
class Shared:
    """How many images are wrong in all of K backbones, and how many would be if they erred independently at their own
    rates in each class; `p` is the probability of so many then."""

    found: int
    expected: float
    p: float

    @property
    def beyond_chance(self) -> bool:
        """Whether there are more than independent errors explain."""
        return self.found > 0 and self.p < CHANCE


@dataclass(frozen=True)
class ConfusedClasses:
    """Two classes that are taken for each other; counts of images, by the mean of a backbone's seeds."""

    classes: tuple[int, int]
    n: int  # images of both
    counts: tuple[int, ...]  # of each backbone: those of one class that it takes for the other
    shared: Shared  # by every backbone
    p_differ: float  # probability of counts that differ as much, were all backbones alike

    @property
    def by_every(self) -> bool:
        """Whether every backbone confuses the same images, beyond chance: a matter of the data."""
        return self.shared.beyond_chance

    @property
    def by_some(self) -> bool:
        """Whether backbones differ in it, beyond chance: a matter of the backbone."""
        return self.p_differ < CHANCE


@dataclass(frozen=True)
class CommonErrors:
    """What the K backbones of `runs` get wrong on the same n validation images."""

    runs: tuple[str, ...]
    n: int
    shared: Shared
    images: tuple[CommonError, ...]  # wrong in every backbone; those that most agree on first
    confused: tuple[ConfusedClasses, ...]  # the most confused first


def common_errors(answers: Answers, seed: int = 0) -> CommonErrors | None:
    """The errors that backbones share; None for fewer than FEWEST.

    Two tests, both exact given how often each backbone errs and how many err on each image. Shared: were errors
    independent, the images wrong in the first two would be a hypergeometric draw, and so on with each further one,
    within each class. Differing: Cochran's Q (Biometrika 1950), by permuting each image's errors among the
    backbones. Those of class pairs are corrected for the number of pairs (Bonferroni).
    """
    if len(answers.runs) < FEWEST:
        return None
    predicted = answers.predicted
    wrong = predicted != answers.labels
    return CommonErrors(
        runs=answers.runs,
        n=len(answers.labels),
        shared=_shared(wrong, answers.labels, 1),
        images=_images(answers, predicted, wrong),
        confused=_confused(predicted, answers.labels, np.random.default_rng(seed)),
    )


def shared_by_chance(counts: Sequence[int], n: int) -> Floats:
    """The distribution of how many of n images lie in all of several independent random sets of these sizes: `[m + 1]`,
    m the smallest of them."""
    first, *more = sorted(counts)
    every = np.arange(first + 1)
    found: Floats = (every == first).astype(np.float64)
    for count in more:
        found = found @ hypergeom.pmf(every[None], n, every[:, None], count)
    return found


def differ_by_chance(hits: Flags, rng: np.random.Generator) -> float:
    """The probability that the columns' sums of `hits` `[images, K]` differ as much, were its columns exchangeable:
    Cochran's Q, by permutation of few rows and by its chi-squared limit of many."""
    inside = hits[hits.any(axis=1) & ~hits.all(axis=1)]  # other rows say nothing
    if not len(inside):
        return 1.0
    rows, columns = inside.shape
    sums, found = inside.sum(axis=1), _spread(inside.sum(axis=0))
    if rows >= MANY:
        q = (columns - 1) * (columns * found - sums.sum() ** 2) / (columns * sums.sum() - (sums**2).sum())
        return float(chi2.sf(q, columns - 1))
    exceeded = 0
    places = np.arange(columns) < sums[:, None]
    for start in range(0, DRAWS, BLOCK):
        drawn = rng.permuted(np.broadcast_to(places, (min(BLOCK, DRAWS - start), *places.shape)), axis=2)
        exceeded += int((_spread(drawn.sum(axis=1)) >= found).sum())
    return (exceeded + 1) / (DRAWS + 1)


def _spread(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (counts.astype(np.int64) ** 2).sum(axis=-1)
    return found


def _shared(wrong: Flags, labels: NDArray[np.int64], tests: int) -> Shared:
    """Images that are wrong in every row of `wrong` `[K, N]`; p is corrected for so many tests."""
    by_class = [
        shared_by_chance(wrong[:, labels == c].sum(axis=1).tolist(), int((labels == c).sum())) for c in set(labels)
    ]
    total = by_class[0]
    for one in by_class[1:]:
        total = np.convolve(total, one)
    found = int(wrong.all(axis=0).sum())
    return Shared(found, float(total @ np.arange(len(total))), min(1.0, tests * float(total[found:].sum())))


def _images(answers: Answers, predicted: NDArray[np.int64], wrong: Flags) -> tuple[CommonError, ...]:
    found = []
    for place in np.flatnonzero(wrong.all(axis=0)):
        said, by = Counter(predicted[:, place].tolist()).most_common(1)[0]
        found.append(CommonError(answers.images[place], int(answers.labels[place]), said, by))
    return tuple(sorted(found, key=lambda one: (-one.by, one.image)))


def _confused(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[ConfusedClasses, ...]:
    totals = Counter(
        tuple(sorted(pair))
        for row in predicted
        for pair in zip(labels[row != labels].tolist(), row[row != labels].tolist(), strict=True)
    )
    pairs = sorted(totals, key=lambda pair: (-totals[pair], pair))[:PAIRS]
    found = []
    for one, other in pairs:
        inside = (labels == one) | (labels == other)
        own = labels[inside]
        hits = predicted[:, inside] == np.where(own == one, other, one)
        found.append(
            ConfusedClasses(
                classes=(one, other),
                n=len(own),
                counts=tuple(hits.sum(axis=1).tolist()),
                shared=_shared(hits, own, len(pairs)),
                p_differ=min(1.0, len(pairs) * differ_by_chance(hits.T, rng)),
            )
        )
    return tuple(found)
