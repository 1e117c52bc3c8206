"""All measures of one backbone's cached features at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from featcache.separability.grouping import together
from featcache.separability.log_evidence import logme
from featcache.separability.nearest_neighbours import centroid_accuracy, knn_accuracy, silhouette
from featcache.separability.ridge_probe import probe_right
from featcache.separability.spectrum import Spectrum


@dataclass(frozen=True, eq=False)  # an array has no single truth
class Separability:
    """How well features separate the classes; larger is better in all but `n` and `effective_rank`.

    None where a measure has no meaning: all but `n`, `logme`, `h_score`, `fisher_ratio` and `effective_rank` for a
    single class; the accuracies also where all images are identical or of one group. Finite features give no NaN.
    """

    n: int  # images
    probe_right: NDArray[np.bool_] | None  # which of them a linear classifier gets right out of fold [n]
    knn_accuracy: float | None  # leave-one-out accuracy of the 5 nearest neighbours, 0 to 1
    centroid_accuracy: float | None  # leave-one-out accuracy of the nearest class mean, 0 to 1
    logme: float  # log evidence of a linear model per image, in nats
    h_score: float  # variance that the classes explain, 0 to classes - 1
    fisher_ratio: float  # spread between the classes over that within, 0 or more
    silhouette: float | None  # -1 to 1
    effective_rank: float  # directions that the features vary along, whatever the labels; 0 to min(n - 1, F)

    @property
    def linear_probe(self) -> float | None:
        """Cross-validated accuracy of a linear classifier, 0 to 1."""
        return None if self.probe_right is None else float(self.probe_right.mean())

    def as_dict(self) -> dict[str, float | None]:
        """The figures by name, as JSON takes them."""
        rest = [f.name for f in fields(self) if f.name not in {"n", "probe_right"}]
        return {"n": self.n, "linear_probe": self.linear_probe, **{name: getattr(self, name) for name in rest}}


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
        probe_right=probe_right(features, labels, groups=units),
        knn_accuracy=knn_accuracy(features, labels, groups=units),
        centroid_accuracy=centroid_accuracy(features, labels, groups=units),
        logme=logme(features, labels),
        h_score=spectrum.h_score(),
        fisher_ratio=spectrum.fisher_ratio(),
        silhouette=silhouette(features, labels),
        effective_rank=spectrum.effective_rank(),
    )
