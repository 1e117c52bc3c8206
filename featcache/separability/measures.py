"""All measures of one backbone's cached features at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.separability.evidence import logme
from featcache.separability.grouping import together
from featcache.separability.neighbours import centroid_accuracy, knn_accuracy, silhouette
from featcache.separability.probe import linear_probe
from featcache.separability.spectrum import Spectrum


@dataclass(frozen=True)
class Separability:
    """How well features separate the classes; larger is better in all but `n` and `effective_rank`.

    None where a measure has no meaning: all but `n`, `logme`, `h_score`, `fisher_ratio` and `effective_rank` for a
    single class; the accuracies also where all images are identical or of one group. Finite features give no NaN.
    """

    n: int  # images
    linear_probe: float | None  # cross-validated accuracy of a linear classifier, 0 to 1
    knn_accuracy: float | None  # leave-one-out accuracy of the 5 nearest neighbours, 0 to 1
    centroid_accuracy: float | None  # leave-one-out accuracy of the nearest class mean, 0 to 1
    logme: float  # log evidence of a linear model per image, in nats
    h_score: float  # variance that the classes explain, 0 to classes - 1
    fisher_ratio: float  # spread between the classes over that within, 0 or more
    silhouette: float | None  # -1 to 1
    effective_rank: float  # directions that the features vary along, whatever the labels; 0 to min(n - 1, F)

    def as_dict(self) -> dict[str, float | None]:
        """By name, in the order above, as JSON takes it."""
        return asdict(self)


def measure(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, groups: NDArray[np.int64] | None = None
) -> Separability:
    """Every measure of features `[N, F]` for labels `[N]`; see each one's function for its meaning and source.

    Images of the same one of `groups` `[N]`, such as frames of a video, never speak for each other in the accuracies;
    nor do identical rows. Time as N F min(N, F), memory a few times that of the features in float64.
    """
    units = together(features, groups)
    spectrum = Spectrum.of(features, labels)
    return Separability(
        n=len(labels),
        linear_probe=linear_probe(features, labels, groups=units),
        knn_accuracy=knn_accuracy(features, labels, groups=units),
        centroid_accuracy=centroid_accuracy(features, labels, groups=units),
        logme=logme(features, labels),
        h_score=spectrum.h_score(),
        fisher_ratio=spectrum.fisher_ratio(),
        silhouette=silhouette(features, labels),
        effective_rank=spectrum.effective_rank(),
    )
