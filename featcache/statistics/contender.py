"""A run with all that its figure was chosen among, and what is left of the figure of the best of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.statistics.scores import Scores, Values


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run answered, where its figure is no sum over images: it is computed of all images held out at once."""

    given: NDArray[np.signedinteger]  # [T, S, E, N]: the classes that images were taken for
    labels: NDArray[np.int64]  # [N]
    # Of answers [R, n], labels [n], the part of each [n] and how many: the figures [R, parts] of what is outside each.
    figure: Callable[[NDArray[np.signedinteger], NDArray[np.int64], NDArray[np.int64], int], Values]
    beyond: float = 0.0  # what the run's figure is larger by, where it is another mean, such as that over folds


@dataclass(frozen=True, eq=False)
class Contender:
    """A run with all that its figure was chosen among: T recipes, S seeds, E epochs, on N images.

    `values` are those of the metric that the best is looked for by, larger better; `chosen_by` those that epochs and
    recipes are chosen by, where that is another one.
    """

    values: NDArray[np.generic]  # [T, S, E, N]
    kept: Scores  # of the recipe and the epochs that the run kept: [S, N]
    fold: NDArray[np.int64]  # [N]: images of one fold share an epoch
    allowed: NDArray[np.bool_]  # [T, S, F, E]: epochs that can be chosen
    second: Values  # [N]: breaks ties between runs, larger better, such as minus the loss
    chosen_by: NDArray[np.generic] | None = None  # [T, S, E, N]
    also: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)  # [T, S, E, N] of metrics that are shown too
    answers: Answers | None = None  # of the metric of `values`, if that is no sum over images
    labels: NDArray[np.int64] | None = None  # [N]: the class of each image, where that is known

    @classmethod
    def of_kept(cls, kept: Scores, second: Values, also: Mapping[str, Values] | None = None) -> Contender:
        """A run of which only the kept epochs are known: what it was chosen among within itself is not corrected."""
        seeds, images = kept.values.shape
        whole = {name: values[None, :, None] for name, values in (also or {}).items()}
        shape = (1, seeds, 1, 1)
        return cls(
            kept.values[None, :, None],
            kept,
            np.zeros(images, np.int64),
            np.ones(shape, np.bool_),
            second,
            also=whole,
        )


@dataclass(frozen=True)
class Corrected:
    """The figure of the best as found, and corrected for having been chosen, with its 95% interval."""

    found: float
    mean: float
    low: float
    high: float
    among: int  # runs
    choices: tuple[tuple[int, int], ...]  # of each run: recipes, and epochs of each

    @property
    def added(self) -> float:
        """What being chosen added to the figure as found."""
        return self.found - self.mean
