"""The best of many, corrected for having been chosen: its epoch, its recipe and itself are chosen on other images.

The largest of many figures is partly luck, and so is the best of 50 epochs. Here all of it is chosen again without a
tenth of the images, and judged on that tenth: what is chosen on some images is not flattered by others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from featcache.statistics.contender import Contender, Corrected
from featcache.statistics.intervals import Z95, unbounded_interval, wilson
from featcache.statistics.scores import Scores, Values
from featcache.statistics.seed_luck import SeedLuck, seeds_differ
from featcache.statistics.selection_spread import PARTS, selection_spread

REPEATS = 20  # cuts
WHOLE = 4_000  # images, of which float32 has every sum of whole numbers no larger than their count
THINNED = 0.5**0.5  # of the luck of a single seed, added before the choice: as if two of three seeds chose


def correct_for_selection(contenders: Sequence[Contender], best: int, metrics: Sequence[str]) -> dict[str, Corrected]:
    """The corrected figures of the `best` of some runs by metric: `metrics[0]` is that of `Contender.values`, the
    others are among `also`. Raises ValueError where all images are one unit: there is none to choose by without it.

    Repeated cross-validation of the whole choice (Varma and Simon 2006; Tsamardinos et al. 2018): the mean over
    REPEATS cuts of the images into PARTS of what the run that is chosen without a part gets in that part. Each part has
    its share of every class, as a split has: else those that favour the classes that a part has few of are chosen
    without it, and every figure near chance reads too low (Kohavi 1995). Where seeds
    differ by more than single images explain, a run may be first by the luck of its seeds: then it is also chosen
    without one seed, and judged by that one, each in turn; a run with a single seed among runs with several is chosen
    with noise of the size of their luck, which is taken off after (Oliveira, Lei and Tibshirani 2021). A metric that is
    no sum over images is that of the answers to all parts together. The interval is Wilson's
    (of figures outside 0 to 1: the normal one), wider by how much more such an estimate varies than a figure that
    nobody chose: that is computed for normal figures with these runs' covariance.
    """
    units = sorted({unit for one in contenders for unit in one.kept.units})
    if len(units) < 2:
        raise ValueError("1 unit of images; expected 2 or more, to choose by some and judge by others")
    place = {unit: number for number, unit in enumerate(units)}
    held = _parts(_classes(contenders, place))
    turns = max(one.kept.seeds for one in contenders) if seeds_differ([one.kept for one in contenders]) else 0
    judged = [_judge(one, held[:, [place[u] for u in one.kept.units]], metrics, turns) for one in contenders]
    luck = _single_luck(contenders, judged[0].seen.shape) if turns else np.zeros((len(judged), len(judged[0].seen)))
    seen = np.round(np.stack([j.seen for j in judged]) + THINNED * luck, 9)
    chosen = np.lexsort((np.stack([j.second for j in judged]), seen), axis=0)[-1]
    splits = np.arange(len(chosen))
    counts = np.stack([j.count for j in judged])[chosen, splits]
    share = np.bincount(chosen, minlength=len(contenders)) / len(chosen)
    wider = selection_spread([one.kept for one in contenders])
    choices = tuple((one.values.shape[0], one.values.shape[2]) for one in contenders)
    flattered = float(counts @ luck[chosen, splits] / THINNED / counts.sum())
    found = {}
    for number, metric in enumerate(metrics):
        sums = np.stack([j.held[number] for j in judged])[chosen, splits]
        kept = [one.kept if not number else _kept(one, metric) for one in contenders]
        mean = float(sums.sum() / counts.sum())
        if not number and all(one.answers is not None for one in contenders):
            beyond = sum(part * one.answers.beyond for part, one in zip(share, contenders, strict=True) if one.answers)
            mean = _of_answers(contenders, judged, chosen, turns) + float(beyond)
        if flattered:
            mean -= flattered * (_slope([one.kept for one in contenders], kept) if number else 1.0)
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
    out: NDArray[np.bool_]  # [P, N]: which these are
    epochs: list[NDArray[np.int64]]  # of each fold [T, S, P]
    recipe: NDArray[np.int64]  # [turns x P]

    def answers(self, one: Contender, place: int, seed: int) -> tuple[NDArray[np.signedinteger], NDArray[np.int64]]:
        """What one seed answered on the images held out in a split, and their labels."""
        assert one.answers is not None
        split = place % len(self.out)
        own = np.flatnonzero(self.out[split])
        epochs = np.array([of[self.recipe[place], seed, split] for of in self.epochs])[one.fold[own]]
        return one.answers.given[self.recipe[place], seed, epochs, own], one.answers.labels[own]


def _judge(one: Contender, held: NDArray[np.bool_], metrics: Sequence[str], turns: int) -> _Judged:
    recipes, seeds = one.values.shape[:2]
    train, out = (~held).astype(np.float32), held.astype(np.float32)
    by = one.values if one.chosen_by is None else one.chosen_by
    every = [one.values, *(one.also[m] for m in metrics[1:])]
    chosen_by, chosen = np.zeros((2, recipes, seeds, len(held)))
    judged = np.zeros((len(metrics), recipes, seeds, len(held)))
    kept_epochs = []
    for number in range(one.allowed.shape[2]):
        own = np.flatnonzero(one.fold == number)
        seen_by = _seen(one, own, held) if by is one.values else _sums(by, own, train)
        epochs = _best_epochs(seen_by, one.allowed[:, :, number])
        seen = seen_by if by is one.values else _seen(one, own, held, epochs)
        kept_epochs.append(epochs)
        chosen_by += _at(seen_by, epochs)
        chosen += _at(seen, epochs)
        for m, values in enumerate(every):
            judged[m] += _at(_sums(values, own, out), epochs)
    choosing, judging = _seed_shares(seeds, turns)
    recipe = _by_turn(chosen_by, choosing).argmax(axis=0)
    count, tested = (np.tile(x.sum(axis=1, dtype=np.float64), len(choosing)) for x in (train, out))
    second = np.tile((train @ one.second).astype(np.float64), len(choosing)) / np.maximum(count, 1)
    # Of few images a part may hold all that a run answered: it is not chosen without any.
    found = _picked(_by_turn(chosen, choosing), recipe)
    seen = np.where(count > 0, found / np.maximum(count, 1), -np.inf)
    sums = [_picked(_by_turn(of, judging), recipe) for of in judged]
    return _Judged(seen, second, sums, tested, held, kept_epochs, recipe)


def _of_answers(
    contenders: Sequence[Contender], judged: Sequence[_Judged], chosen: NDArray[np.int64], turns: int
) -> float:
    """The figure of what the runs that were chosen answered on each part, the parts of a cut together; its mean over
    cuts, turns and seeds."""
    seeds = max(one.kept.seeds for one in contenders)
    found = []
    for cut in np.arange(len(chosen)).reshape(-1, len(chosen) // max(1, turns) // REPEATS):
        turn = cut[0] * turns // len(chosen)
        for seed in [turn] if turns else range(seeds):
            parts = [
                judged[k].answers(contenders[k], place, seed % contenders[k].kept.seeds)
                for place, k in zip(cut, chosen[cut], strict=True)
            ]
            given, labels = (np.concatenate(of) for of in zip(*parts, strict=True))
            first = next(one.answers for one in contenders if one.answers is not None)
            found.append(first.figure(given[None], labels, np.ones_like(labels), 1)[0, 0])
    return float(np.mean(found))


def _single_luck(contenders: Sequence[Contender], shape: tuple[int, ...]) -> Values:
    """Normal noise `[K, turns x P]` of the size of the seeds' luck, of runs with a single seed; of the others 0. It is
    spread evenly over the splits, so that it takes nothing from a run that is chosen in all of them."""
    luck = np.sqrt(SeedLuck.of([one.kept for one in contenders]).variance)
    even = norm.ppf((np.arange(shape[0]) + 0.5) / shape[0])
    rng = np.random.default_rng([len(contenders), *shape])
    return np.stack(
        [
            spread * rng.permutation(even) if one.kept.seeds == 1 else np.zeros(shape)
            for one, spread in zip(contenders, luck, strict=True)
        ]
    )


def _slope(first: Sequence[Scores], second: Sequence[Scores]) -> float:
    """How much a seed that is ahead by 1 in the first metric is ahead in the second, over runs with several."""
    ahead = [[s.values.mean(axis=1) - s.mean for s in of if s.seeds > 1] for of in (first, second)]
    one, other = (np.concatenate(of) for of in ahead)
    return float(one @ other / max(float(one @ one), 1e-12))


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


def _seen(
    one: Contender, own: NDArray[np.int64], held: NDArray[np.bool_], epochs: NDArray[np.int64] | None = None
) -> Values:
    """The sums `[T, S, E, P]` of a fold's images that choose, in the metric that the best is looked for by; of answers
    their figure as often as these are, and where `epochs` `[T, S, P]` are chosen already, 0 for others."""
    if one.answers is None:
        return _sums(one.values, own, (~held).astype(np.float32))
    answers = one.answers
    cuts = held[:, own].reshape(REPEATS, -1, len(own))
    part = cuts.argmax(axis=1)
    given = answers.given[..., own]
    found = np.zeros((*given.shape[:3], len(held)))
    for t, s in np.ndindex(given.shape[:2]):
        needed = np.arange(given.shape[2]) if epochs is None else np.unique(epochs[t, s])
        seen = [answers.figure(given[t, s, needed], answers.labels[own], of, cuts.shape[1]) for of in part]
        found[t, s, needed] = np.concatenate(seen, axis=1)
    found *= (~held[:, own]).sum(axis=1)
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


def _classes(contenders: Sequence[Contender], place: Mapping[str, int]) -> NDArray[np.int64]:
    """The class of each unit `[U]`, that of one of its images; 0 where it is not known."""
    found = np.zeros(len(place), np.int64)
    for one in contenders:
        if one.labels is not None:
            found[[place[unit] for unit in one.kept.units]] = one.labels
    return found


def _parts(classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which units are held out in each split `[REPEATS x PARTS, U]`, of each class as many in every part as can be; the
    same for the same units."""
    units, parts = len(classes), min(PARTS, len(classes))
    rng, held = np.random.default_rng(units), []
    for _ in range(REPEATS):
        drawn, turn = rng.permutation(units), rng.permutation(int(classes.max()) + 1)
        part = np.empty(units, np.int64)
        part[np.lexsort((drawn, turn[classes]))] = np.arange(units) % parts
        held.append(part == np.arange(parts)[:, None])
    return np.concatenate(held)


def _interval(mean: float, kept: Sequence[Scores], wider: float, share: Values) -> tuple[float, float]:
    """Of a figure that is that of each run for a `share` `[K]` of the splits."""
    variance = float(share @ (SeedLuck.of(kept).variance + [s.image_variance for s in kept]))
    if not kept[0].bounded:
        return unbounded_interval(mean, Z95 * wider * math.sqrt(variance), loss=kept[0].loss)
    images = float(share @ [s.images for s in kept])
    spread = float(share @ [max(0.0, s.mean * (1 - s.mean)) for s in kept])
    most = float(share @ [s.seeds * s.images for s in kept])
    effective = min(spread / variance, most) if variance > 0 and spread > 0 else images
    return wilson(min(1.0, max(0.0, mean)), effective / wider**2)
