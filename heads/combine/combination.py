"""The average of several runs' probabilities: its weights, and what it answers on val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from featcache.records import Split
from heads.combine.fitted_weights import FittedWeights, equal_weights, fit_weights
from heads.combine.members import SPLITS, Logits, Logs, Member
from heads.runs import Predictions
from heads.training import ImageOutcomes, outcome


@dataclass(frozen=True, eq=False)
class Answered:
    """What the average answers on a split, and every metric of it image by image, for each of its heads."""

    seen: Predictions  # logits `[H, N, C]`, whose softmax is the average

    @cached_property
    def outcomes(self) -> list[ImageOutcomes]:
        """Of each head."""
        labels = torch.from_numpy(self.seen.labels)
        return [outcome(torch.from_numpy(one), labels) for one in self.seen.logits]


@dataclass(frozen=True, eq=False)
class Combination:
    """Members, their weights, and what their average answers.

    Its seeds are those of its members side by side, so that those whose heads are kept meet (`best`): that is the model
    that is used. A member with fewer seeds than another begins again with its first.
    """

    members: tuple[Member, ...]
    fitted: FittedWeights
    answered: Mapping[Split, Answered]  # val: each image by weights that were fitted without it
    found: Answered  # val by the weights that were fitted on all of it, which flatters it
    plain: Mapping[Split, Answered]  # with equal weights

    @property
    def best(self) -> int:
        """Which of its seeds is of the heads that are kept."""
        return self.members[0].best_seed

    def kept(self, split: Split) -> int:
        """The place, among the heads that answered a split, of the model that is used."""
        folds = max(member.folds for member in self.members) if split == "test" else 1
        return self.best * folds + (self.members[0].best_fold if split == "test" else 0)


def combine(members: Sequence[Member], *, rounds: int, equal: bool = False) -> Combination:
    """The average of members, with weights by greedy selection on val, or `equal` ones."""
    logs = {split: _logs(members, split) for split in SPLITS}
    val = members[0].answers["val"]
    labels, images = val.labels, len(val.labels)
    same = equal_weights(len(members), images)
    fitted = same if equal or len(members) == 1 else fit_weights(np.exp(logs["val"]), labels, val.units, rounds)

    def answered(split: Split, weights: NDArray[np.float64]) -> Answered:
        # A combination of one run is that run, bit for bit.
        logits = members[0].answers[split].logits if len(members) == 1 else average(logs[split], weights)
        return Answered(replace(members[0].answers[split], logits=logits))

    plain = {split: answered(split, same.weights) for split in SPLITS}
    return Combination(
        tuple(members),
        fitted,
        {"val": answered("val", fitted.held_out), "test": answered("test", fitted.weights)},
        answered("val", fitted.weights),
        plain,
    )


def average(logs: Logs, weights: NDArray[np.float64]) -> Logits:
    """Logarithms `[H, N, C]` of the average, by weights `[K]` or `[K, N]`, of probabilities whose logarithms are `logs`
    `[K, H, N, C]`."""
    each = weights.reshape(len(weights), 1, -1, 1)
    found: Logits = logsumexp(logs, axis=0, b=np.broadcast_to(each, logs.shape)).astype(np.float32)
    return found


def _logs(members: Sequence[Member], split: Split) -> Logs:
    """`[K, H, N, C]`: on val a head for each seed, on test one for each seed and fold."""
    seeds = max(member.seeds for member in members)
    folds = max(member.folds for member in members) if split == "test" else 1
    first = members[0]
    apart = [(s - first.best_seed, f - first.best_fold) for s in range(seeds) for f in range(folds)]
    return np.stack([np.stack([one.logs(split, s, f) for s, f in apart]) for one in members])
