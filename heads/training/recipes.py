"""The recipes that `benchmark --tuned` tries on each feature map, declared here, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from featcache.options import Normalise, Options
from heads.training.features import Features
from heads.training.trained_head import TrainedHead, score

RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
NORMALISATIONS: tuple[Normalise, ...] = ("none", "standard", "layernorm")

Score = tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """What is tried of a head's training; all else is as the options say."""

    learning_rate: float
    weight_decay: float
    normalise: Normalise

    @classmethod
    def of(cls, options: Options) -> Recipe:
        """That of a run."""
        return cls(options.training.learning_rate, options.training.weight_decay, options.head.normalise)

    def options(self, options: Options) -> Options:
        """Options by this recipe."""
        training = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return options.model_copy(
            update={
                "training": options.training.model_copy(update=training),
                "head": options.head.model_copy(update={"normalise": self.normalise}),
            }
        )


def recipes_of(options: Options) -> list[Recipe]:
    """The options' own first, then the grid: the tuned head is never worse on val than the uniform one.

    Weight decay stays the options' own: 1.0 for 0.01 of AdamW gained nothing (docs/recipe.md).
    """
    own = Recipe.of(options)
    grid = [Recipe(rate, own.weight_decay, normalise) for normalise, rate in product(NORMALISATIONS, RATES)]
    return list(dict.fromkeys([own, *grid]))


def recipe_score(seeds: Sequence[Sequence[TrainedHead]], features: Features, metric: str) -> Score | None:
    """What recipes are compared by, larger is better: each head `[seed][fold]` at its best epoch, as `score` says, the
    mean over seeds, and over folds by their images. None where a head has no epoch to choose."""
    if any(head.best_epoch < 0 for folds in seeds for head in folds):
        return None
    images = [len(fold.val) for fold in features.folds]
    total = len(seeds) * sum(images)
    rows = [(score(head.best, metric), images[head.fold]) for folds in seeds for head in folds]
    return tuple(sum(values[part] * n for values, n in rows) / total for part in range(len(rows[0][0])))
