"""Which backbone is ahead at which number of training images, and where two of them change places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from featcache.statistics import JointComparison, Scores
from heads.learning_curves.learning_curve import lost_scores, scores_of
from heads.learning_curves.measured_heads import MeasuredHeads
from heads.learning_curves.training_subsets import Size


@dataclass(frozen=True)
class Lead:
    """Two backbones at one size, in top-1 on val: the first less the second, with limits that hold for all pairs and
    sizes of a study together."""

    size: str
    images: float
    one: str
    other: str
    difference: float
    low: float
    high: float

    @property
    def shown(self) -> int:
        """1: the first is ahead; -1: the second; 0: val does not tell."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Crossing:
    """Two backbones that change places: `first` is ahead with up to `below` training images, `then` from `above` on."""

    first: str
    then: str
    below: float
    above: float
    certain: bool  # both are shown, jointly at 95%; else the figures alone say so


def compare_curves(measured: Sequence[MeasuredHeads], sizes: Sequence[Size], images: Sequence[float]) -> list[Lead]:
    """Every pair at every size; nothing of a single backbone.

    The draws and the images of val are the same for all, and the comparison is joint over pairs and sizes
    (`featcache.statistics.JointComparison`). It takes the luck of draws as each backbone's own: where the same draw is
    good for both, limits are wider than they need to be.
    """
    if len(measured) < 2:
        return []
    joint = JointComparison(
        {str(size): [scores_of(one, "val", "top1", (size, 0.0)) for one in measured] for size in range(len(sizes))}
    )
    return [
        Lead(
            sizes[size].name,
            images[size],
            measured[i].name,
            measured[j].name,
            joint.difference(str(size), i, j),
            *joint.interval(str(size), i, j),
        )
        for i, j in combinations(range(len(measured)), 2)
        for size in range(len(sizes))
    ]


def compare_losses(measured: Sequence[MeasuredHeads]) -> list[Lead]:
    """Every pair in what the largest share of wrong labels takes from top-1 on val, jointly for all pairs and image by
    image: ahead is who loses less. Nothing of a single backbone, or where no labels were flipped."""
    noisy = list(measured[0].values["val", "top1"])[-1]
    if len(measured) < 2 or not noisy[1]:
        return []
    joint = JointComparison({"lost": [_negative(lost_scores(one, noisy)) for one in measured]})
    return [
        Lead(
            "all",
            0.0,
            measured[i].name,
            measured[j].name,
            joint.difference("lost", i, j),
            *joint.interval("lost", i, j),
        )
        for i, j in combinations(range(len(measured)), 2)
    ]


def _negative(scores: Scores) -> Scores:
    return replace(scores, values=-scores.values)


def crossings(leads: Sequence[Lead]) -> list[Crossing]:
    """Where pairs change places: by shown leads where there are both, else by the signs of the differences if one is
    ahead at all sizes before a place and the other at all after."""
    pairs = dict.fromkeys((lead.one, lead.other) for lead in leads)
    found = []
    for pair in pairs:
        own = sorted((lead for lead in leads if (lead.one, lead.other) == pair), key=lambda lead: lead.images)
        told = [lead for lead in own if lead.shown]
        changes = [(a, b) for a, b in pairwise(told) if a.shown != b.shown]
        certain = bool(changes)
        if not changes:
            signs = [(lead, lead.difference > 0) for lead in own if lead.difference]
            changes = [(a, b) for (a, up), (b, now) in pairwise(signs) if up != now]
            changes = changes if len(changes) == 1 else []
        for before, after in changes:
            first, then = pair if before.difference > 0 else pair[::-1]
            found.append(Crossing(first, then, before.images, after.images, certain))
    return found
