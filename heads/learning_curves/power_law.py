"""A learning curve as a power law: accuracy a - b n^-c of n training images, its error, what it may be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import f

from featcache.errors import InputError

FEWEST = 5  # sizes: three numbers are fitted, and some must be left to say whether they fit
FURTHEST = 4.0  # times the most images that were seen: beyond, the form decides and not the data
WORLDS = 200  # resamples for the error
RARE = 0.002  # probability of such residuals by chance: below, the fit is poor
RATES = np.geomspace(0.01, 3.0, 200)  # of c, that are tried
FINER = 41  # rates that are tried between the neighbours of the best

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
        return float(self.a - self.b * images**-self.c)

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

    Least squares, each size by its standard error over draws, with a at most 1 and b at least 0. The error is that of
    resampled draws and units (`units` `[V]`, the same for all sizes). None with fewer than FEWEST sizes.
    """
    if len(values) < FEWEST:
        return None
    means = np.array([v.mean() for v in values])
    errors = _errors(values)
    rng = np.random.default_rng([len(values), len(units)])
    worlds = np.concatenate([means[None], _resampled(values, units, rng)])
    found, loss = _fit(np.asarray(images, np.float64), worlds, errors)
    a, b, c = found[0].tolist()
    freedom = len(values) - 3
    misfit = float(f.sf(loss[0] / freedom, freedom, sum(len(v) - 1 for v in values) or 1))
    return PowerLaw(a, b, c, round(float(images.max())), misfit, found[1:])


def _errors(values: Sequence[Values]) -> Values:
    """The standard error of each size's mean that is its own, the luck of its draws: that of the images is shared.

    Of so few draws it is itself unsure, so each size is taken together with its neighbours; none is so sure that it
    decides alone.
    """
    own = [v.mean(axis=1).var(ddof=1) / len(v) if len(v) > 1 else 0.0 for v in values]
    near = np.array([np.mean(own[max(0, s - 1) : s + 2]) for s in range(len(own))])
    found: Values = np.sqrt(np.maximum(near, max(1e-8, float(np.median(near)) / 4)))
    return found


def _fit(images: Values, worlds: Values, errors: Values) -> tuple[Values, Values]:
    """The best a, b, c `[W, 3]` of each row of `worlds` `[W, S]`, and its sum of squared residuals in standard errors.

    For a given c the rest is linear, so only c is searched (separable least squares, Golub and Pereyra 1973): on a grid
    first, so that no start is needed and none misses the best.
    """
    ratio = images / images.min()  # b is found as what the smallest size lacks: all numbers are of one order

    def at(rates: Values) -> tuple[Values, Values, Values]:  # of c [.., G] for each world
        a, lost, loss = _linear(ratio ** -rates[..., None], worlds, 1 / errors**2)
        best = loss.argmin(axis=1)
        own = np.arange(len(worlds))
        chosen = np.broadcast_to(rates, loss.shape)
        return np.stack([a[own, best], lost[own, best], chosen[own, best]], axis=1), loss[own, best], best

    _, _, best = at(RATES)
    low, high = RATES[np.maximum(best - 1, 0)], RATES[np.minimum(best + 1, len(RATES) - 1)]
    found, loss, _ = at(low[:, None] + (high - low)[:, None] * np.linspace(0, 1, FINER))
    found[:, 1] *= images.min() ** found[:, 2]
    return found, loss


def _linear(x: Values, y: Values, weight: Values) -> tuple[Values, Values, Values]:
    """The best a and lost `[W, G]` in y = a - lost x, x `[(W,) G, S]`, y `[W, S]`, and the weighted squares left."""
    y = y[:, None]
    mean_x, mean_y = (x @ weight) / weight.sum(), (y @ weight) / weight.sum()
    apart = x - mean_x[..., None]
    lost = np.maximum(0.0, -((apart * (y - mean_y[..., None])) @ weight) / np.maximum((apart**2) @ weight, 1e-300))
    a = mean_y + lost * mean_x
    # Where that is more than all right: the best through a = 1.
    over = a > 1
    lost = np.where(over, ((1 - y) * x) @ weight / np.maximum((x**2) @ weight, 1e-300), lost)
    a = np.minimum(a, 1.0)
    left = y - a[..., None] + lost[..., None] * x
    return a, lost, (left**2) @ weight


def _resampled(values: Sequence[Values], units: NDArray[np.int64], rng: np.random.Generator) -> Values:
    """The means of each size in each resample `[W, S]`: draws anew for each size, units of images the same for all.

    Draws are so few that a resample varies by (D - 1) / D of what it should, which is put right.
    """
    _, unit = np.unique(units, return_inverse=True)
    count = int(unit.max()) + 1
    weight = rng.multinomial(count, np.full(count, 1 / count), size=WORLDS)[:, unit].astype(np.float64)
    weight /= weight.sum(axis=1, keepdims=True)
    means = []
    for own in values:
        by_draw, draws = weight @ own.T, len(own)  # [W, D]
        middle = by_draw.mean(axis=1)
        again = np.take_along_axis(by_draw, rng.integers(draws, size=by_draw.shape), axis=1).mean(axis=1)
        wider = np.sqrt(draws / (draws - 1)) if draws > 1 else 1.0
        means.append(middle + wider * (again - middle))
    return np.stack(means, axis=1)
