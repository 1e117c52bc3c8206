"""The trials of a study in, the chains that SPSA climbs in out: how far each has come, how long its next step is.

Gains as in Spall 1998, "Implementation of the simultaneous perturbation algorithm for stochastic optimization" (IEEE
Transactions on Aerospace and Electronic Systems 34:3): the perturbation follows from the measured noise, the first step
from the size of the gradient, and A is a tenth of the iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from heads.search.option_places import OptionPlaces, Place, Vector

ALPHA, GAMMA = 0.602, 0.101  # Spall's exponents: how fast steps and perturbations shrink
STABILITY = 0.1  # A, of the iterations
WIDTH = 0.12  # c of the first pairs, of a range's width; later ones follow the noise between these two
NARROWEST, WIDEST = 0.07, 0.20
STEP = 0.20  # of a range's width: the first step's length in each option after a pair of typical difference
MOMENTUM = 0.5  # what a step keeps of the one before: a pair's gradient is mostly its signs
MOST_SLOPE = 1.5  # typical differences that a pair counts at most
STANDS_STILL = 3  # iterations without a better point
MARK = "spsa:step"  # system attribute of trials
SEED_VALUES = "seed_values"  # user attribute of trials: the objective's value of each seed's head


@dataclass(frozen=True)
class Step:
    """What a trial is in the climb."""

    chain: int  # the number of the trial that the chain begins at
    side: int = 0  # of its pair, 1 or -1; 0: a start, a point on its own
    iteration: int = -1
    signs: tuple[float, ...] = ()
    centre: tuple[float, ...] = ()
    velocity: tuple[float, ...] = ()
    width: float = 0.0  # c
    choices: tuple[int, ...] = ()

    @property
    def point(self) -> Place:
        """Where the trial lies."""
        place = np.array(self.centre) + self.side * self.width * np.array(self.signs)
        return Place(np.clip(place, 0, 1), tuple(self.choices))

    def mark(self) -> dict[str, Any]:
        """As the trial keeps it."""
        return asdict(self)


def step_of(trial: FrozenTrial) -> Step:
    """What a trial is in the climb; one that knows nothing of it (an earlier version's) may be a start."""
    mark = trial.system_attrs.get(MARK)
    return Step(trial.number) if mark is None else Step(**mark)


class Climb:
    """All trials of a study so far."""

    def __init__(self, places: OptionPlaces, trials: Sequence[FrozenTrial], sign: float, iterations: float) -> None:
        """`sign`: -1 where less is better; `iterations`: about how many a chain is to have."""
        self.places, self.trials, self._iterations, self._sign = places, trials, iterations, sign
        self._by_number = {t.number: t for t in trials}
        self.steps = {t.number: step_of(t) for t in trials}
        complete = (t for t in trials if t.state == TrialState.COMPLETE and t.value is not None)
        self.values = {t.number: sign * float(t.value or 0.0) for t in complete}

    @cached_property
    def chains(self) -> dict[int, list[int]]:
        """The trials of each chain whose start is completed."""
        found: dict[int, list[int]] = {n: [] for n, step in self.steps.items() if not step.side and n in self.values}
        for number, step in self.steps.items():
            if step.chain in found:
                found[step.chain].append(number)
        return found

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Plus and minus, where both are over."""
        numbers = sorted(n for n, step in self.steps.items() if step.side)
        couples = zip(numbers[0::2], numbers[1::2], strict=False)
        return [(p, m) for p, m in couples if self.over(p) and self.over(m)]

    def over(self, number: int) -> bool:
        """Whether a trial has ended in any way."""
        return self._by_number[number].state.is_finished()

    def best(self, of: Sequence[int]) -> int:
        """The best of these trials, the earlier of equal ones; the first where none is completed."""
        return max(of, key=lambda n: (self.values.get(n, -np.inf), -n))

    def place(self, number: int) -> Place:
        """Where a trial lies."""
        return self.places.place(self._by_number[number].params)

    def stands_still(self, chain: int) -> bool:
        """Whether its last iterations brought nothing better."""
        done = [n for n in self.chains[chain] if n in self.values]
        last, best = max(self.steps[n].iteration for n in done), self.steps[self.best(done)].iteration
        return last - best >= STANDS_STILL

    def next_pair(self, chain: int) -> Step:
        """The centre, perturbation and velocity of the chain's next pair, its signs not drawn yet."""
        own = self.chains[chain]
        start, iteration = self.place(chain), max(self.steps[n].iteration for n in own)
        last = [n for n in own if self.steps[n].iteration == iteration]
        if iteration >= 0 and not all(self.over(n) for n in last):
            return self.steps[last[0]]  # a further pair of the same iteration
        velocity, centre = np.zeros(len(start.ranges)), start.ranges
        if iteration >= 0:
            velocity = MOMENTUM * np.array(self.steps[last[0]].velocity) + self._gradient(last)
            centre = self.place(self.best(own)).ranges + self._step(iteration) * velocity
        width = self._width / (iteration + 2) ** GAMMA
        inside = np.clip(centre, width, 1 - width)  # neither side of the pair is cut off
        return Step(
            chain, 1, iteration + 1, (), tuple(inside.tolist()), tuple(velocity.tolist()), float(width), start.choices
        )

    def _step(self, iteration: int) -> float:
        stability = STABILITY * self._iterations
        return float(STEP * ((stability + 1) / (stability + iteration + 1)) ** ALPHA)

    def _gradient(self, last: Sequence[int]) -> Vector:
        """Of an iteration's pairs, in typical slopes; of several pairs the direction alone, since they disagree about
        most options and their mean would shrink with their number."""
        found = []
        for plus, minus in zip(last[0::2], last[1::2], strict=True):
            step = self.steps[plus]
            slope = self._difference(plus, minus) / (2 * step.width * self._typical)
            found.append(np.clip(slope, -MOST_SLOPE, MOST_SLOPE) * np.array(step.signs))
        mean = np.asarray(np.mean(found, axis=0))
        largest = np.abs(mean).max(initial=0.0)
        return mean / largest if len(found) > 1 and largest > 0 else mean

    def _difference(self, plus: int, minus: int) -> float:
        """Of a pair's values; where one was pruned, of what both had in the last epoch that both went through. What
        failed is worse than what did not."""
        if plus in self.values and minus in self.values:
            return self.values[plus] - self.values[minus]
        reported = [self._by_number[n].intermediate_values for n in (plus, minus)]
        if common := reported[0].keys() & reported[1].keys():
            return self._sign * (reported[0][max(common)] - reported[1][max(common)])
        ended = [float(self._by_number[n].state != TrialState.FAIL) for n in (plus, minus)]
        return (ended[0] - ended[1]) * 2 * self.steps[plus].width * self._typical

    def _slope(self, plus: int, minus: int) -> float:
        return (self.values[plus] - self.values[minus]) / (2 * self.steps[plus].width)

    @cached_property
    def _complete(self) -> list[tuple[int, int]]:
        return [(p, m) for p, m in self.pairs if p in self.values and m in self.values]

    @cached_property
    def _typical(self) -> float:
        """Slope of a pair, the median of those that have any; 1 where none has."""
        slopes = [abs(s) for p, m in self._complete if (s := self._slope(p, m)) != 0]
        return float(np.median(slopes)) if slopes else 1.0

    @cached_property
    def _width(self) -> float:
        """c: where a pair of typical slope differs by as much as the noise of its difference, within limits.

        Spall's rule is c = the standard deviation of the noise, where slopes are about 1. A pair shares its seeds, so
        the noise of its difference is that of the mean over seeds of each one's own difference.
        """
        noises = [noise for p, m in self._complete if (noise := self._noise(p, m)) is not None]
        if not noises:
            return WIDTH
        noise = float(np.sqrt(np.mean(np.square(noises))))
        differences = [self._slope(p, m) * 2 * WIDTH for p, m in self._complete]
        signal = np.mean(np.square(differences)) - noise**2
        return WIDEST if signal <= 0 else float(np.clip(WIDTH * noise / np.sqrt(signal), NARROWEST, WIDEST))

    def _noise(self, plus: int, minus: int) -> float | None:
        one, other = (self._by_number[n].user_attrs.get(SEED_VALUES, []) for n in (plus, minus))
        if len(one) != len(other) or len(one) < 2:
            return None
        return float(np.std(np.subtract(one, other), ddof=1) / np.sqrt(len(one)))
