"""Which runs a soup is made of, and what it answers to validation images that had no part in that choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.errors import RunError
from heads.combine import parts_of
from heads.training import find_metric, outcome

Taken = tuple[int, ...]
ValLogits = Callable[[Taken], NDArray[np.float32]]  # `[N, C]` of the average of some members
DIGITS = 12  # of a metric: rounding is not to choose


@dataclass(frozen=True, eq=False)
class Choice:
    """The members that are averaged, and logits `[N, C]` of val, each image by a choice that was made without it."""

    taken: Taken
    held_out: NDArray[np.float32]
    parts: int  # 0 where nothing was chosen


def take_all(members: int, logits: ValLogits) -> Choice:
    """The uniform soup: nothing is chosen, so every image may judge it."""
    every = tuple(range(members))
    return Choice(every, logits(every), 0)


def choose_members(
    members: int, logits: ValLogits, labels: NDArray[np.int64], units: Sequence[str], metric: str
) -> Choice:
    """The greedy soup of Wortsman et al. 2022 by a metric on images of these labels `[N]`, and what soups that are
    chosen on nine parts of the images in ten answer to the tenth. Raises RunError where all images are of one group."""
    if members == 1:
        return take_all(1, logits)
    if len(set(units)) < 2:
        raise RunError(
            "soup: all validation images are of one group, so that members cannot be chosen on some and judged on "
            "others. Average all of them: --uniform."
        )
    part = parts_of(units)
    held_out = np.empty_like(logits((0,)))
    for number in np.unique(part):
        here = part == number
        own = greedy_soup(members, _judge(logits, labels, ~here, metric))
        held_out[here] = logits(own)[here]
    whole = greedy_soup(members, _judge(logits, labels, np.ones_like(part, dtype=np.bool_), metric))
    return Choice(whole, held_out, int(part.max()) + 1)


def greedy_soup(members: int, judge: Callable[[Taken], float]) -> Taken:
    """Begin with the best member; of the others, best first, each stays in with whom the average is not worse.

    Of equal ones the first is the better; a value that is no number is the worst.
    """
    alone = [judge((one,)) for one in range(members)]
    order = sorted(range(members), key=lambda one: -alone[one])
    taken: Taken = (order[0],)
    best = alone[order[0]]
    for one in order[1:]:
        if alone[one] == -np.inf:
            continue
        tried = tuple(sorted((*taken, one)))
        if (value := judge(tried)) >= best:
            taken, best = tried, value
    return taken


def _judge(
    logits: ValLogits, labels: NDArray[np.int64], images: NDArray[np.bool_], metric: str
) -> Callable[[Taken], float]:
    """The metric on some of the images, larger better."""
    one = find_metric(metric)

    def judge(taken: Taken) -> float:
        own = logits(taken)[images]
        if not np.isfinite(own).all():
            return -np.inf
        value = round(outcome(torch.from_numpy(own), torch.from_numpy(labels[images])).mean(one.name), DIGITS)
        return value if one.larger_is_better else -value

    return judge
