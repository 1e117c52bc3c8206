"""A learning curve as a power law: accuracy a - b n^-c of n training images, its error, what it may be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import chi2

from featcache.errors import InputError

FEWEST = 5  # sizes: three numbers are fitted, and some must be left to say whether they fit
FURTHEST = 4.0  # times the most images that were seen: beyond, the form decides and not the data
WORLDS = 200  # resamples for the error
RARE = 0.01  # of a residual that chance alone would give: below, the fit is poor
LOW, HIGH = (0.0, 0.0, 0.01), (1.0, 2.0, 3.0)  # of a, b in units of b n_1^-c, c
STARTS = tuple(product((0.7, 0.9, 1.0), (0.1, 0.4), (0.2, 0.5, 1.0)))

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """acc(n) = a - b n^-c (Cortes et al. 1994; Hestness et al. 2017), and the same in each resample."""

    a: float
    b: float
    c: float
    most: int  # training images of the largest size
    misfit: float  # probability that chance alone leaves such residuals
    worlds: Values  # a, b, c of each resample `[W, 3]`

    @property
    def poor(self) -> bool:
        """Whether the points lie further off the curve than chance would put them."""
        return self.misfit < RARE

    def at(self, images: float) -> float:
        """The accuracy with so many training images; raises InputError beyond FURTHEST times what was seen."""
        if images > FURTHEST * self.most:
            raise InputError(
                f"{images:.0f} training images: the curve was measured up to {self.most}, and says nothing beyond "
                f"{FURTHEST:g} times as many ({FURTHEST * self.most:.0f}). Ask for fewer."
            )
        return float(_law(np.array([self.a, self.b, self.c]), np.array([images]))[0])

    def gain(self, times: float) -> tuple[float, float, float]:
        """What `times` as many training images as the most would add, and its 95% limits over resamples."""
        gain = self.at(times * self.most) - self.at(self.most)
        _, b, c = self.worlds.T
        moved = b * (self.most**-c - (times * self.most) ** -c)
        low, high = np.quantile(moved, [0.025, 0.975])
        return gain, float(min(low, gain)), float(max(high, gain))

    def limits(self) -> tuple[tuple[float, float], ...]:
        """The 95% limits of a, b and c over resamples."""
        return tuple((float(low), float(high)) for low, high in np.quantile(self.worlds, [0.025, 0.975], axis=0).T)


def fit_power_law(images: Values, values: Sequence[Values], units: NDArray[np.int64]) -> PowerLaw | None:
    """Fit the curve through the means of `values[s]` `[D, V]`, of D draws on V images, at `images[s]` training images.

    Least squares, each size by its standard error over draws, from several starts. The error is that of resampled draws
    and units (`units` `[V]`, the same for all sizes). None with fewer than FEWEST sizes.
    """
    if len(values) < FEWEST:
        return None
    means = np.array([v.mean() for v in values])
    errors = np.array([_error(v) for v in values])
    # No size is so sure that it decides alone: a spread of few draws may be 0 by chance.
    errors = np.maximum(errors, max(1e-4, float(np.median(errors)) / 2))
    best = min((_fit(images, means, errors, np.array(start)) for start in STARTS), key=lambda f: f[1])
    rng = np.random.default_rng([len(values), len(units)])
    worlds = [_fit(images, world, errors, best[0])[0] for world in _resampled(values, units, rng)]
    misfit = float(chi2.sf(best[1], len(values) - 3))
    a, b, c = _plain(best[0], images)
    return PowerLaw(a, b, c, round(float(images.max())), misfit, np.array([_plain(w, images) for w in worlds]))


def _error(values: Values) -> float:
    """The standard error of a size's mean that is its own: the luck of its draws; that of the images is shared."""
    return float(values.mean(axis=1).std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _law(abc: Values, n: Values) -> Values:
    found: Values = abc[0] - abc[1] * n ** -abc[2]
    return found


def _plain(scaled: Values, images: Values) -> tuple[float, float, float]:
    """a, b, c of what is fitted: what is lost at the smallest size in place of b, so that all are of one order."""
    a, lost, c = scaled
    return float(a), float(lost * images.min() ** c), float(c)


def _fit(images: Values, means: Values, errors: Values, start: Values) -> tuple[Values, float]:
    """The best a, lost, c from a start, and the sum of squared residuals in standard errors."""
    ratio = np.log(images / images.min())

    def residuals(p: Values) -> Values:
        found: Values = (p[0] - p[1] * np.exp(-p[2] * ratio) - means) / errors
        return found

    found = least_squares(residuals, np.clip(start, np.add(LOW, 1e-6), np.subtract(HIGH, 1e-6)), bounds=(LOW, HIGH))
    return found.x, 2 * float(found.cost)


def _resampled(values: Sequence[Values], units: NDArray[np.int64], rng: np.random.Generator) -> list[Values]:
    """The means of each size in each resample: draws anew for each size, units of images the same for all.

    Draws are so few that a resample varies by (D - 1) / D of what it should, which is put right.
    """
    _, unit = np.unique(units, return_inverse=True)
    count = int(unit.max()) + 1
    found = []
    for _ in range(WORLDS):
        weight = np.bincount(rng.integers(count, size=count), minlength=count)[unit].astype(np.float64)
        means = []
        for own in values:
            by_draw = own @ weight / weight.sum()
            draws = len(own)
            wider = np.sqrt(draws / (draws - 1)) if draws > 1 else 1.0
            means.append(by_draw.mean() + wider * (by_draw[rng.integers(draws, size=draws)].mean() - by_draw.mean()))
        found.append(np.array(means))
    return found
