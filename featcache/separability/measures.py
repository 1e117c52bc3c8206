"""The measures of separability, one entry for each: a feature map with its labels in, a figure out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.errors import PluginError
from featcache.plugins import package_code, with_plugins
from featcache.separability.class_overlap import gbc
from featcache.separability.grouping import together
from featcache.separability.intrinsic_dimension import intrinsic_dimension
from featcache.separability.log_evidence import logme
from featcache.separability.nearest_neighbours import centroid_accuracy, knn_accuracy, silhouette
from featcache.separability.nested_logistic import LogisticProbe, probe_logistic
from featcache.separability.pair_agreement import parc
from featcache.separability.ridge_probe import probe_right
from featcache.separability.spectrum import Spectrum

PLUGINS = "featcache.measures"  # the entry points by which packages bring measures of their own


@dataclass(frozen=True, eq=False)  # an array has no single truth
class LabelledFeatures:
    """Features `[N, F]` with labels `[N]`; what several measures need of them is computed once.

    Images of the same one of `groups` `[N]`, such as frames of a video, never speak for each other in accuracies; nor
    do identical rows.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """A number for each image `[N]`, the same for images that are never apart."""
        return together(self.features, self.groups)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigenvalues of the covariance, and the class means along them."""
        return Spectrum.of(self.features, self.labels)

    @cached_property
    def probe_right(self) -> NDArray[np.bool_] | None:
        """Which images a linear classifier gets right out of fold `[N]`; None where a probe has no meaning."""
        return probe_right(self.features, self.labels, groups=self.units)

    @cached_property
    def linear_probe(self) -> float | None:
        """The share of them."""
        return None if self.probe_right is None else float(self.probe_right.mean())

    @cached_property
    def logistic(self) -> LogisticProbe | None:
        """What logistic regression makes of them; None where a probe has no meaning."""
        return probe_logistic(self.features, self.labels, groups=self.units)


@dataclass(frozen=True)
class Measure:
    """One measure: how it is computed, and what people read of it.

    It is None where it has no meaning: accuracies for a single class, or where all images are identical or of one
    group. Finite features give no NaN.
    """

    name: str  # in summary.json and leaderboard.csv
    title: str  # in sentences, tables and figures
    score: Callable[[LabelledFeatures], float | None]
    meaning: str  # a line: what it says, in which unit and range
    judges: bool = True  # larger is better, so that it may be asked which backbone is best
    heading: str = ""  # of its column where a leaderboard is shown; "" where only leaderboard.csv has it
    on_terminal: bool = False  # there too, where there is little room
    source: str = ""  # the paper that it is from

    def of(self, labelled: LabelledFeatures) -> float | None:
        """The figure; raises PluginError where a package's measure fails or gives no number."""
        if MEASURES.get(self.name) is self:
            return self.score(labelled)
        with package_code(f"measure {self.name!r}"):
            found = self.score(labelled)
            value = None if found is None else float(found)
        if value is not None and not math.isfinite(value):
            raise PluginError(
                f"the measure {self.name!r} of an installed package gave {value}; expected a finite number, or None. "
                "Mend or uninstall the package."
            )
        return value


_BUILT_IN = (
    Measure(
        "linear_probe",
        "linear probe",
        lambda x: x.linear_probe,
        "linear probe of the training images' features, cross-validated: the share right, 0 to 1",
        heading="probe",
        source="penalty: Ledoit and Wolf 2004",
    ),
    Measure(
        "logistic_probe",
        "logistic probe",
        lambda x: None if x.logistic is None else float(x.logistic.right.mean()),
        "logistic regression of the same, its C searched by inner folds, cross-validated: the share right, 0 to 1",
        heading="logistic",
        source="Radford et al. 2021, A.3",
    ),
    Measure(
        "knn_accuracy",
        "5 nearest neighbours",
        lambda x: knn_accuracy(x.features, x.labels, groups=x.units),
        "leave-one-out accuracy of the 5 nearest neighbours, 0 to 1",
        source="Cover and Hart 1967",
    ),
    Measure(
        "centroid_accuracy",
        "nearest class centroid",
        lambda x: centroid_accuracy(x.features, x.labels, groups=x.units),
        "leave-one-out accuracy of the nearest class mean, 0 to 1",
        source="Mensink et al. 2013",
    ),
    Measure(
        "logme",
        "LogME",
        lambda x: logme(x.features, x.labels),
        "log evidence of a linear model, in nats per image",
        heading="LogME",
        source="You et al., ICML 2021",
    ),
    Measure(
        "h_score",
        "H-score",
        lambda x: x.spectrum.h_score(),
        "variance that the classes explain, 0 to classes - 1",
        source="Bao et al., ICIP 2019; Ibrahim et al. 2022",
    ),
    Measure(
        "fisher_ratio",
        "Fisher ratio",
        lambda x: x.spectrum.fisher_ratio(),
        "spread between the classes over that within, 0 or more",
        source="Fukunaga 1990, 10.2",
    ),
    Measure(
        "silhouette",
        "silhouette",
        lambda x: silhouette(x.features, x.labels),
        "how much nearer images are to their own class than to the next one, -1 to 1",
        source="Rousseeuw 1987",
    ),
    Measure(
        "parc",
        "PARC",
        lambda x: parc(x.features, x.labels, groups=x.units),
        "rank correlation of distance and difference in class over all pairs of images, -1 to 1",
        source="Bolya et al., NeurIPS 2021",
    ),
    Measure(
        "gbc",
        "GBC",
        lambda x: gbc(x.features, x.labels),
        "how little the classes overlap as Gaussians, in nats: minus the log of their Bhattacharyya coefficients' sum",
        source="Pandy et al., CVPR 2022",
    ),
    Measure(
        "effective_rank",
        "effective rank",
        lambda x: x.spectrum.effective_rank(),
        "directions that the features vary along, whatever the labels; 0 to min(n - 1, F)",
        judges=False,
        source="Roy and Vetterli 2007",
    ),
    Measure(
        "intrinsic_dimension",
        "intrinsic dimension",
        lambda x: intrinsic_dimension(x.features),
        "coordinates that it takes to tell the images apart, whatever the labels, by TwoNN; above 0",
        judges=False,
        source="Facco et al. 2017",
    ),
)
MEASURES = {one.name: one for one in _BUILT_IN}


def measures() -> dict[str, Measure]:
    """Every measure by name: the built-in ones, then those that installed packages bring."""
    return with_plugins(PLUGINS, MEASURES, Measure)


def measure(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, groups: NDArray[np.int64] | None = None
) -> dict[str, float | None]:
    """Every measure by name, and `n`, of features `[N, F]` for labels `[N]`; see each one's function for its source.

    Time as N F min(N, F), memory a few times that of the features in float64.
    """
    labelled = LabelledFeatures(features, labels, groups)
    return {"n": len(labels)} | {name: one.of(labelled) for name, one in measures().items()}
