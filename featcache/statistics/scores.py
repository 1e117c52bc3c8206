"""What one run gave image by image, and how sure its mean is: the luck of the images and that of the seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """A metric of one run: `values` `[S, N]` of S seeds on N images, whose mean is the figure.

    `units` names for each image what was drawn from the world together: the image itself, or its group (a patient, a
    video). Runs that share units answered the same images, and are compared on them.
    """

    values: Values
    units: tuple[str, ...]  # [N]
    bounded: bool = True  # whether the figure lies between 0 and 1, as a share does
    loss: bool = False  # whether it is a loss with its sign turned, so that it lies below 0 and has no other end
    # The class of each image `[N]`, where the figure is a mean over classes and not over images, as balanced accuracy
    # is: `values` are then what each image adds, and its luck is measured from its own class.
    strata: NDArray[np.int64] | None = None

    @cached_property
    def mean(self) -> float:
        """The figure."""
        return float(self.values.mean())

    @cached_property
    def influence(self) -> Values:
        """What each image moves the figure by `[N]`: its mean over seeds less the figure (where there are classes, less
        the mean of its own), over N."""
        by_image = self.values.mean(axis=0)
        if self.strata is None:
            centre: float | Values = self.mean
        else:
            centre = (np.bincount(self.strata, by_image) / np.maximum(self._counts, 1))[self.strata]
        found: Values = (by_image - centre) / len(by_image)
        return found

    @cached_property
    def added(self) -> Values:
        """What each image adds to a difference from another run `[N]`, over N; differences alone say anything."""
        found: Values = self.values.mean(axis=0) / self.values.shape[1]
        return found

    @cached_property
    def image_variance(self) -> float:
        """Of the figure, from which images were drawn: units are independent, images of one unit are not.

        The images of a rare class say little of their spread, and a single one nothing, being its own mean: each class
        counts as if it had one more image, as unsure as the whole figure is (and its seeds as far from each other as
        those of the others).
        """
        _, unit = np.unique(np.array(self.units), return_inverse=True)
        seen = float((np.bincount(unit, self.influence) ** 2).sum())
        if self.strata is None or not self.bounded:
            return seen
        n = self._counts[self._counts > 0]
        more = max(0.0, self.mean * (1 - self.mean)) * float((1 / n**2).sum()) / len(n) ** 2
        each = [replace(self, values=one[None]).influence for one in self.values]
        alone = float(np.mean([one @ one for one in each]))
        return seen + more * (float(self.influence @ self.influence) / alone if alone > 0 else 1.0)

    @cached_property
    def images(self) -> float:
        """How many independent images the figure is of: units; of a mean over classes as many as would make a mean over
        images as sure, if all classes are equally hard."""
        units = float(len(set(self.units)))
        if self.strata is None:
            return units
        n = self._counts[self._counts > 0]
        return units / len(self.units) * len(n) ** 2 / float((1 / n).sum())

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Images of each class."""
        found: NDArray[np.int64] = np.bincount(self.strata) if self.strata is not None else np.zeros(0, np.int64)
        return found

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.values)

    @cached_property
    def between_seeds(self) -> float:
        """Variance of the seeds' figures; 0 of one seed."""
        return float(self.values.mean(axis=1).var(ddof=1)) if self.seeds > 1 else 0.0

    @cached_property
    def within_seeds(self) -> float:
        """What of `between_seeds` comes of each seed's luck with single images alone.

        The two-way analysis of variance without replication (Scheffe 1959, 4.8): the mean square of what neither the
        seed nor the image explains, over N; of several images of a unit that of their sums.
        """
        seeds, images = self.values.shape
        _, unit = np.unique(np.array(self.units), return_inverse=True)
        units = int(unit.max()) + 1
        if seeds < 2 or units < 2:
            return 0.0
        rest = self.values - self.values.mean(axis=1, keepdims=True) - self.values.mean(axis=0) + self.mean
        sums = np.stack([np.bincount(unit, row) for row in rest])
        return float((sums**2).sum() * units / ((seeds - 1) * (units - 1) * images**2))
