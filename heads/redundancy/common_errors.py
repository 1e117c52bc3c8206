"""Which images and which classes every backbone gets wrong, a matter of the data, and which some do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heads.redundancy.answers import Answers, Flags
from heads.redundancy.error_chance import Ints, by_unit, chance_of_differing, chance_of_shared, expected_shared

FEWEST = 3  # backbones: what only two have in common says little of the data
PAIRS = 12  # pairs of classes that are looked at, those with the most confusions
CHANCE = 0.05  # a test's probability below which something is said


@dataclass(frozen=True)
class CommonError:
    """An image that no backbone gets right."""

    image: str
    label: int
    said: int  # the class that most of them say
    by: int  # how many of them say that
    sha256: str = ""  # of its content; "" where the runs do not say

    def is_in(self, known: Collection[str]) -> bool:
        """Whether its name or its content hash is."""
        return self.image in known or self.sha256 in known


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
    within each class. Differing: Cochran's Q, by permuting each image's errors among the backbones. Images of one unit
    count once in either (`error_chance`). Those of class pairs are corrected for the number of pairs (Bonferroni).
    """
    if len(answers.runs) < FEWEST:
        return None
    predicted = answers.predicted
    wrong = predicted != answers.labels
    _, units = np.unique(np.array(answers.units), return_inverse=True)
    rng = np.random.default_rng(seed)
    return CommonErrors(
        runs=answers.runs,
        n=len(answers.labels),
        shared=_shared(wrong, answers.labels, units, rng, 1),
        images=_images(answers, predicted, wrong),
        confused=_confused(predicted, answers.labels, units, rng),
    )


def _shared(wrong: Flags, labels: Ints, units: Ints, rng: np.random.Generator, tests: int) -> Shared:
    """Images that are wrong in every row of `wrong` `[K, N]`; p is corrected for so many tests."""
    p = chance_of_shared(wrong, labels, units, rng)
    return Shared(int(wrong.all(axis=0).sum()), expected_shared(wrong, labels), min(1.0, tests * p))


def _images(answers: Answers, predicted: NDArray[np.int64], wrong: Flags) -> tuple[CommonError, ...]:
    found = []
    for place in np.flatnonzero(wrong.all(axis=0)):
        said, by = Counter(predicted[:, place].tolist()).most_common(1)[0]
        content = "" if answers.contents is None else answers.contents[place]
        found.append(CommonError(answers.images[place], int(answers.labels[place]), said, by, content))
    return tuple(sorted(found, key=lambda one: (-one.by, one.image)))


def _confused(predicted: Ints, labels: Ints, units: Ints, rng: np.random.Generator) -> tuple[ConfusedClasses, ...]:
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
                shared=_shared(hits, own, units[inside], rng, len(pairs)),
                p_differ=min(1.0, len(pairs) * chance_of_differing(by_unit(hits, units[inside]), rng)),
            )
        )
    return tuple(found)
