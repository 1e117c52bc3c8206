"""Which range of which store's missing images a worker takes next, and which rows may be written already.

No range is handed out far ahead of those that are not done, since its rows wait in memory until all before them are
there. A worker with nothing to do takes over what another has had for too long: the first to deliver counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

AHEAD = 3  # ranges for each worker that may be out before the first of them is done
SLOW = 2.0  # times what a range takes, in the middle of those that are done: beyond it another worker takes it too
LEAST_SECONDS = 2.0  # before that
COPIES = 2  # workers at one range


@dataclass(frozen=True)
class Range:
    """A run of one store's missing images."""

    store: int  # by its place among those that are filled together
    number: int
    start: int
    stop: int


@dataclass
class _Store:
    ranges: list[Range]
    taken: set[int] = field(default_factory=set)
    done: dict[int, Any] = field(default_factory=dict)  # what came of a range, until those before it are there
    due: int = 0  # the first that is not written yet
    dropped: bool = False

    def untaken(self, ahead: int) -> list[Range]:
        if self.dropped:
            return []
        return [one for one in self.ranges[self.due : self.due + ahead] if one.number not in self.taken]


class RangeQueue:
    """The ranges of stores that lack so many images each, for so many workers."""

    def __init__(
        self, sizes: Sequence[int], workers: int, images: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workers, self._clock = workers, clock
        self._stores = [_Store(_cut(store, size, images)) for store, size in enumerate(sizes)]
        self._at: dict[int, tuple[Range, float]] = {}  # by worker: its range, and since when
        self._holds: dict[int, int] = {}  # by worker: the store whose backbone it had last
        self._seconds: list[float] = []  # that ranges took

    @property
    def over(self) -> bool:
        """Whether every row is written, or given up."""
        return all(one.dropped or one.due == len(one.ranges) for one in self._stores)

    @property
    def at_work(self) -> list[int]:
        """The workers that have a range."""
        return list(self._at)

    @property
    def late_in(self) -> float | None:
        """Seconds until the next range has been out for too long; None where that is not known yet."""
        if not self._seconds or not self._at:
            return None
        return max(0.0, min(since for _, since in self._at.values()) + self._late - self._clock())

    def take(self, rank: int) -> Range | None:
        """The next range of a worker that has nothing to do; None where there is none for it now."""
        taken = self._untaken(rank) or self._late_one()
        if taken is None:
            return None
        self._stores[taken.store].taken.add(taken.number)
        self._at[rank], self._holds[rank] = (taken, self._clock()), taken.store
        return taken

    def lose(self, rank: int) -> Range:
        """The range of a worker that is gone, which is to be taken again unless another is at it too."""
        lost, _ = self._at.pop(rank)
        self._holds.pop(rank)
        if not self._is_done(lost) and all(one != lost for one, _ in self._at.values()):
            self._stores[lost.store].taken.discard(lost.number)
        return lost

    def deliver(self, rank: int, value: Any) -> tuple[Range, list[int]]:
        """What came of a worker's range, and the other workers that need not go on with it; a range that is there
        already would have been given up by `deliver` before."""
        delivered, since = self._at.pop(rank)
        self._seconds.append(self._clock() - since)
        self._stores[delivered.store].done[delivered.number] = value
        return delivered, self._give_up(lambda one: one == delivered)

    def store_of(self, rank: int) -> int:
        """The store of a worker's range."""
        return self._at[rank][0].store

    def drop(self, store: int, rank: int) -> list[int]:
        """Give a store up that a worker has failed at; the others that need not go on."""
        del self._at[rank]
        self._stores[store].dropped = True
        return self._give_up(lambda one: one.store == store)

    def writable(self, store: int) -> list[Any]:
        """What came of the next ranges of a store in order, each once."""
        one, found = self._stores[store], []
        while one.due in one.done:
            found.append(one.done.pop(one.due))
            one.due += 1
        return found

    @property
    def _late(self) -> float:
        return max(LEAST_SECONDS, SLOW * median(self._seconds))

    def _give_up(self, unwanted: Callable[[Range], bool]) -> list[int]:
        ranks = [rank for rank, (one, _) in self._at.items() if unwanted(one)]
        for rank in ranks:
            del self._at[rank]
        return ranks

    def _is_done(self, one: Range) -> bool:
        store = self._stores[one.store]
        return store.dropped or one.number < store.due or one.number in store.done

    def _untaken(self, rank: int) -> Range | None:
        """Of the store whose backbone the worker holds, else of the one that fewest workers are at; in either the
        ranges that are its own by turns come first: it has decoded them for another backbone."""
        ahead = AHEAD * self._workers
        ways = {place: found for place, store in enumerate(self._stores) if (found := store.untaken(ahead))}
        if not ways:
            return None
        at = [one.store for one, _ in self._at.values()]
        store = (
            self._holds[rank]
            if self._holds.get(rank) in ways
            else min(ways, key=lambda place: (at.count(place), place))
        )
        return min(ways[store], key=lambda one: (one.number % self._workers != rank, one.number))

    def _late_one(self) -> Range | None:
        """The range that has been out longest, where that is too long."""
        if self.late_in is None or self.late_in > 0:
            return None
        out = [one for one, _ in self._at.values()]
        late = [(since, one.number, one) for one, since in self._at.values() if self._clock() - since >= self._late]
        free = [found for found in late if out.count(found[2]) < COPIES]
        return min(free, key=lambda found: found[:2])[2] if free else None


def _cut(store: int, size: int, images: int) -> list[Range]:
    starts = range(0, size, images)
    return [Range(store, number, start, min(start + images, size)) for number, start in enumerate(starts)]
