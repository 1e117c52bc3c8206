"""What one run gave image by image, and how sure its mean is: the luck of the images and that of the seeds."""

from __future__ import annotations

from dataclasses import dataclass
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
    # What each image adds `[N]`, times N, where a difference from another run must count more of it than its influence
    # here: of balanced accuracy, say, the only image of a class moves nothing, being its own mean.
    parts: Values | None = None

    @cached_property
    def mean(self) -> float:
        """The figure."""
        return float(self.values.mean())

    @cached_property
    def influence(self) -> Values:
        """What each image moves the figure by `[N]`: its mean over seeds less the figure, over N."""
        by_image = self.values.mean(axis=0)
        found: Values = (by_image - self.mean) / len(by_image)
        return found

    @cached_property
    def added(self) -> Values:
        """What each image adds to a difference from another run `[N]`, over N; differences alone say anything."""
        by_image = self.values.mean(axis=0) if self.parts is None else self.parts
        found: Values = by_image / len(by_image)
        return found

    @cached_property
    def image_variance(self) -> float:
        """Of the figure, from which images were drawn: units are independent, images of one unit are not."""
        _, unit = np.unique(np.array(self.units), return_inverse=True)
        return float((np.bincount(unit, self.influence) ** 2).sum())

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
