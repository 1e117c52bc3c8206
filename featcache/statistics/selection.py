"""The best of many, corrected for having been chosen: its epoch, its recipe and itself are chosen on other images.

The largest of many figures is partly luck, and so is the best of 50 epochs. Here all of it is chosen again without a
tenth of the images, and judged on that tenth: what is chosen on some images is not flattered by others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.statistics.intervals import Z95, unbounded_interval, wilson
from featcache.statistics.scores import Scores, Values
from featcache.statistics.seed_luck import SeedLuck, seeds_differ

PARTS = 10  # that the images are cut into: fewer choose from too few images, more depend on single ones
REPEATS = 20  # cuts
WHOLE = 4_000  # images, of which float32 has every sum of whole numbers no larger than their count
WORLDS = 300  # drawn for the spread of the corrected figure
NOISE = 60  # draws in each of them


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


def correct_for_selection(contenders: Sequence[Contender], best: int, metrics: Sequence[str]) -> dict[str, Corrected]:
    """The corrected figures of the `best` of some runs by metric: `metrics[0]` is that of `Contender.values`, the
    others are among `also`. Raises ValueError where all images are one unit: there is none to choose by without it.

    Repeated cross-validation of the whole choice (Varma and Simon 2006; Tsamardinos et al. 2018): the mean over
    REPEATS cuts of the images into PARTS of what the run that is chosen without a part gets in that part. Where seeds
    differ by more than single images explain, a run may be first by the luck of its seeds: then it is also chosen
    without one seed, and judged by that one, each in turn. The interval
    is Wilson's (of figures outside 0 to 1: the normal one), wider by how much more such an estimate varies than a
    figure that nobody chose: that is computed for normal figures with these runs' covariance.
    """
    units = sorted({unit for one in contenders for unit in one.kept.units})
    if len(units) < 2:
        raise ValueError("1 unit of images; expected 2 or more, to choose by some and judge by others")
    held = _parts(len(units))
    place = {unit: number for number, unit in enumerate(units)}
    turns = max(one.kept.seeds for one in contenders) if seeds_differ([one.kept for one in contenders]) else 0
    judged = [_judge(one, held[:, [place[u] for u in one.kept.units]], metrics, turns) for one in contenders]
    chosen = np.lexsort((np.stack([j.second for j in judged]), np.stack([j.seen for j in judged])), axis=0)[-1]
    splits = np.arange(len(chosen))
    counts = np.stack([j.count for j in judged])[chosen, splits]
    share = np.bincount(chosen, minlength=len(contenders)) / len(chosen)
    wider = selection_spread([one.kept for one in contenders])
    choices = tuple((one.values.shape[0], one.values.shape[2]) for one in contenders)
    found = {}
    for number, metric in enumerate(metrics):
        sums = np.stack([j.held[number] for j in judged])[chosen, splits]
        mean = float(sums.sum() / counts.sum())
        kept = [one.kept if not number else _kept(one, metric) for one in contenders]
        low, high = _interval(mean, kept, wider, share)
        found[metric] = Corrected(kept[best].mean, mean, low, high, len(contenders), choices)
    return found


@dataclass(frozen=True, eq=False)
class _Judged:
    """A run in each split `[P]` (and turn of the seeds): what it is chosen by, and what it then gets on the part that
    was held out."""

    seen: Values  # mean over the images that choose
    second: Values
    held: list[Values]  # of each metric: sum over the images held out
    count: Values  # of them


def _judge(one: Contender, held: NDArray[np.bool_], metrics: Sequence[str], turns: int) -> _Judged:
    recipes, seeds = one.values.shape[:2]
    train, out = (~held).astype(np.float32), held.astype(np.float32)
    by = one.values if one.chosen_by is None else one.chosen_by
    every = [one.values, *(one.also[m] for m in metrics[1:])]
    chosen_by, chosen = np.zeros((2, recipes, seeds, len(held)))
    judged = np.zeros((len(metrics), recipes, seeds, len(held)))
    for number in range(one.allowed.shape[2]):
        own = np.flatnonzero(one.fold == number)
        seen_by = _sums(by, own, train)
        epochs = _best_epochs(seen_by, one.allowed[:, :, number])
        chosen_by += _at(seen_by, epochs)
        chosen += _at(seen_by if by is one.values else _sums(one.values, own, train), epochs)
        for m, values in enumerate(every):
            judged[m] += _at(_sums(values, own, out), epochs)
    choosing, judging = _seed_shares(seeds, turns)
    recipe = _by_turn(chosen_by, choosing).argmax(axis=0)
    count, tested = (np.tile(x.sum(axis=1, dtype=np.float64), len(choosing)) for x in (train, out))
    second = np.tile((train @ one.second).astype(np.float64), len(choosing)) / np.maximum(count, 1)
    # Of few images a part may hold all that a run answered: it is not chosen without any.
    found = _picked(_by_turn(chosen, choosing), recipe)
    seen: Values = np.where(count > 0, found / np.maximum(count, 1), -np.inf)
    return _Judged(np.round(seen, 9), second, [_picked(_by_turn(sums, judging), recipe) for sums in judged], tested)


def _seed_shares(seeds: int, turns: int) -> tuple[Values, Values]:
    """What each seed counts `[turns, S]` in choosing and in judging: all of them in both, or each in turn in one of
    them. A single seed can only do both."""
    if not turns or seeds < 2:
        every = np.full((max(1, turns), seeds), 1 / seeds)
        return every, every
    judging = np.eye(seeds)[np.arange(turns) % seeds]
    return (1 - judging) / (seeds - 1), judging


def _by_turn(sums: Values, shares: Values) -> Values:
    """Means over seeds of sums `[T, S, P]` as they count in each turn: `[T, turns x P]`."""
    found: Values = np.einsum("tsp,rs->trp", sums, shares).reshape(len(sums), -1)
    return found


def _picked(values: Values, recipe: NDArray[np.int64]) -> Values:
    found: Values = values[recipe, np.arange(values.shape[1])]
    return found


def _sums(values: NDArray[np.generic], own: NDArray[np.int64], weights: NDArray[np.float32]) -> Values:
    """Of `[T, S, E, N]` the sums over a fold's images in each split, `[T, S, E, P]`."""
    count = int(np.prod(values.shape[:-1]))
    exact = "f8" if values.dtype.kind == "i" and len(own) > WHOLE else "f4"
    rows: NDArray[np.floating] = np.take(values, own, axis=-1).astype(exact, order="C")
    sums = rows.reshape(count, len(own)) @ weights[:, own].T  # one product of BLAS
    found: Values = sums.astype(np.float64).reshape(*values.shape[:-1], len(weights))
    return found


def _best_epochs(sums: Values, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The best allowed epoch `[T, S, P]` by `sums` `[T, S, E, P]`, of equal ones the first.

    A loss over all images must not break ties: it knows of those that are held out which epoch has them right.
    """
    seen = np.where(allowed[..., None], np.round(sums, 4), -np.inf)
    best: NDArray[np.int64] = seen.argmax(axis=2)
    return best


def _at(sums: Values, epochs: NDArray[np.int64]) -> Values:
    found: Values = np.take_along_axis(sums, epochs[:, :, None], axis=2)[:, :, 0]
    return found


def _kept(one: Contender, metric: str) -> Scores:
    """The scores of a further metric at the epochs that were kept: those that are best on all images."""
    every = np.ones((1, len(one.fold)), np.float32)
    by = one.values if one.chosen_by is None else one.chosen_by
    recipes = np.zeros(len(by))
    values = np.zeros((*by.shape[:2], len(one.fold)))
    for number in range(one.allowed.shape[2]):
        own = np.flatnonzero(one.fold == number)
        sums = _sums(by, own, every)
        epochs = _best_epochs(sums, one.allowed[:, :, number])
        recipes += _at(sums, epochs).mean(axis=1)[:, 0]
        picked = np.take_along_axis(one.also[metric], epochs[:, :, :1, None], axis=2)[:, :, 0]
        values[..., own] = picked[..., own]
    return Scores(values[int(recipes.argmax())], one.kept.units)


def _parts(units: int) -> NDArray[np.bool_]:
    """Which units are held out in each split `[REPEATS x PARTS, U]`; the same for the same number of units."""
    rng = np.random.default_rng(units)
    parts = min(PARTS, units)
    cuts = [rng.permutation(units) % parts for _ in range(REPEATS)]
    return np.concatenate([cut == np.arange(parts)[:, None] for cut in cuts])


def _interval(mean: float, kept: Sequence[Scores], wider: float, share: Values) -> tuple[float, float]:
    """Of a figure that is that of each run for a `share` `[K]` of the splits."""
    variance = float(share @ (SeedLuck.of(kept).variance + [s.image_variance for s in kept]))
    if not kept[0].bounded:
        return unbounded_interval(mean, Z95 * wider * math.sqrt(variance), loss=kept[0].loss)
    images = float(share @ [len(set(s.units)) for s in kept])
    spread = float(share @ [max(0.0, s.mean * (1 - s.mean)) for s in kept])
    most = float(share @ [s.seeds * len(set(s.units)) for s in kept])
    effective = min(spread / variance, most) if variance > 0 and spread > 0 else images
    return wilson(min(1.0, max(0.0, mean)), effective / wider**2)


def selection_spread(kept: Sequence[Scores]) -> float:
    """By how much the corrected figure of the best of K runs varies more than the figure of a run that nobody chose.

    In WORLDS worlds around the figures, shrunk towards their mean as their own noise demands (James and Stein 1961),
    the best is chosen and corrected: of normal figures, cross-validation is the coupled bootstrap (Oliveira, Lei and
    Tibshirani 2021), which adds noise of 1 / (PARTS - 1) of their variance before the choice and takes it off after.
    """
    runs = len(kept)
    if runs < 2:
        return 1.0
    means = np.array([s.mean for s in kept])
    own, shared = _variances(kept)
    if own <= 0:
        return 1.0
    apart = means - means.mean()
    shrunk = apart * _shrinkage(apart, own)
    rng = np.random.default_rng([runs, WORLDS])
    alpha = math.sqrt(1 / (PARTS - 1))
    drawn = shrunk + rng.standard_normal((WORLDS, runs)) * math.sqrt(own)
    errors = np.zeros(WORLDS)
    for _ in range(NOISE // 2):
        one = rng.standard_normal((WORLDS, runs)) * math.sqrt(own)
        for noise in (one, -one):  # so that it takes nothing from a choice that is the same in every draw
            chosen = (drawn + alpha * noise).argmax(axis=1)
            errors += (drawn - noise / alpha)[np.arange(WORLDS), chosen] / NOISE
    errors -= shrunk[drawn.argmax(axis=1)]
    return max(1.0, math.sqrt((float(errors.var()) + shared) / (own + shared)))


def _variances(kept: Sequence[Scores]) -> tuple[float, float]:
    """Of a run's figure: what is its own, and what it shares with the other runs, in the mean over runs."""
    names = sorted({u for s in kept for u in set(s.units)})
    place = {name: number for number, name in enumerate(names)}
    tables = [np.bincount([place[u] for u in s.units], s.influence, len(names)) for s in kept]
    together = np.sum(tables, axis=0)
    alone = float(sum(t @ t for t in tables))
    runs = len(kept)
    shared = max(0.0, (float(together @ together) - alone) / (runs * (runs - 1)))
    luck = float(np.mean(SeedLuck.of(kept).variance))
    return max(0.0, alone / runs - shared) + luck, shared


def _shrinkage(apart: Values, own: float) -> float:
    runs, spread = len(apart), float((apart**2).sum())
    if spread <= 0:
        return 0.0
    if runs > 3:
        return max(0.0, 1 - (runs - 3) * own / spread)
    between = max(0.0, spread / (runs - 1) - own)
    return between / (between + own)
