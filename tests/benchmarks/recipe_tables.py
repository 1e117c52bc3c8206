"""The tables of `bin/bench recipe`: accuracy of each recipe, and how stably it orders backbones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

NORMALISE = ("none", "standard", "scale", "l2", "layernorm")
RATES = (1e-4, 1e-3)
RECIPES = [(normalise, rate) for rate in RATES for normalise in NORMALISE]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """Top-1 `[backbones, recipes, splits, halves]` on the half's own validation images and on the other half; of the
    logistic regression on the other half `[backbones, splits, halves]`."""

    val: Array
    test: Array
    reference: Array

    def with_reference(self, top1: Array) -> Array:
        """Tau of each recipe's order with that of the logistic regression, `[recipes, splits]`."""
        wanted = np.repeat(self.reference[:, None], len(RECIPES), axis=1)
        return tau(top1, wanted).mean(axis=-1)


def tau(a: Array, b: Array) -> Array:
    """Kendall's tau-b of the orders of backbones `[backbones, ..]`, for each of what is behind them."""
    pairs = zip(a.reshape(len(a), -1).T, b.reshape(len(b), -1).T, strict=True)
    return np.array([kendalltau(one, other).statistic for one, other in pairs]).reshape(a.shape[1:])


def tables(found: Mapping[str, Found]) -> Iterator[str]:
    """Each table as Markdown."""
    every = [f"{normalise}, {rate:g}" for normalise, rate in RECIPES]
    yield table("Top-1 on the other half", found, lambda f: f.test.mean(axis=(0, 3)), every)
    halves = "Tau of the orders of A and of B"
    yield table(f"{halves}, by their own val", found, lambda f: tau(f.val[..., 0], f.val[..., 1]), every)
    yield table(f"{halves}, by the other half", found, lambda f: tau(f.test[..., 0], f.test[..., 1]), every)
    probe = "with that of the tuned logistic regression on the other half"
    yield table(f"Tau of the order by val {probe}", found, lambda f: f.with_reference(f.val), every)
    yield table(f"Tau of the order by the other half {probe}", found, lambda f: f.with_reference(f.test), every)
    last = len(NORMALISE)
    rates = "Tau of the orders by the other half at the two rates"
    yield table(rates, found, lambda f: tau(f.test[:, :last], f.test[:, last:]).mean(axis=2), NORMALISE)
    yield between(found)


def table(title: str, found: Mapping[str, Found], of: Callable[[Found], Array], recipes: Sequence[str]) -> str:
    """A row for each recipe with `of` `[recipes, splits]`, a column for each data set; behind them the mean, and its
    difference to `none` at the same rate with the standard error over data sets and splits."""
    by_set = [of(one) for one in found.values()]
    whole = np.concatenate(by_set, axis=1)
    lines = [title, f"| recipe | {' | '.join(found)} | mean | to none |", f"|---|{'--:|' * (len(found) + 2)}"]
    for number, recipe in enumerate(recipes):
        base = number // len(NORMALISE) * len(NORMALISE)
        more = whole[number] - whole[base]
        error = more.std(ddof=1) / np.sqrt(len(more)) if len(more) > 1 else np.nan
        cells = [f"{values[number].mean():.3f}" for values in by_set]
        cells += [f"{whole[number].mean():.3f}", "" if number == base else f"{more.mean():+.3f} ± {error:.3f}"]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    return "\n".join(lines)


def between(found: Mapping[str, Found]) -> str:
    """Tau between the recipes of the first rate, the mean over data sets, splits and halves."""
    places = range(len(NORMALISE))
    lines = [
        f"Tau of the orders by the other half between recipes at {RATES[0]:g}",
        f"| | {' | '.join(NORMALISE)} |",
        f"|---|{'--:|' * len(NORMALISE)}",
    ]
    for i in places:
        row = [np.mean([tau(f.test[:, i], f.test[:, j]).mean() for f in found.values()]) for j in places]
        lines.append(f"| {NORMALISE[i]} | {' | '.join(f'{v:.3f}' for v in row)} |")
    return "\n".join(lines)
