"""Which ranges workers take: all of them once, in time, whoever is lost or slow; rows come out in order."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from featcache.extraction.range_queue import AHEAD, COPIES, LEAST_SECONDS, RangeQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("seed", range(20))
def test_every_row_comes_once_in_order_whatever_becomes_of_the_workers(seed: int) -> None:
    """Workers of very different speeds, some of which are lost at random and come again."""
    chance, clock = random.Random(seed), Clock()
    sizes = [chance.randrange(1, 400) for _ in range(chance.randrange(1, 4))]
    workers = chance.randrange(1, 6)
    queue = RangeQueue(sizes, workers, chance.randrange(1, 40), clock)
    speeds = [chance.choice([1.0, 1.0, 10.0]) for _ in range(workers)]
    ends: dict[int, tuple[float, range, int]] = {}
    written: list[list[int]] = [[] for _ in sizes]
    busy: dict[int, float] = {}  # those at work that nobody wants any more
    while not queue.over:
        for rank in range(workers):
            if rank not in ends and busy.get(rank, 0.0) <= clock.now and (one := queue.take(rank)) is not None:
                images = range(one.start, one.stop)
                ends[rank] = clock.now + len(images) * speeds[rank], images, one.store
        assert ends, "nobody has work, and not all is done"
        late = queue.late_in
        rank = min(ends, key=lambda r: ends[r][0])
        if late is not None and clock.now + late < ends[rank][0] and len(ends) < workers and late > 0:
            clock.now += late
            continue
        clock.now = max(clock.now, ends[rank][0])
        _, images, store = ends.pop(rank)
        if chance.random() < 0.2:
            lost = queue.lose(rank)
            assert (lost.start, lost.stop, lost.store) == (images.start, images.stop, store)
            continue
        _, unwanted = queue.deliver(rank, list(images))
        for other in unwanted:
            busy[other] = ends.pop(other)[0]
        for block in queue.writable(store):
            written[store] += block
    assert written == [list(range(size)) for size in sizes]


def test_a_worker_stays_with_its_backbone_and_with_its_own_images() -> None:
    queue = RangeQueue([40, 40], 2, 10)
    first = [queue.take(rank) for rank in range(2)]
    assert [(one.store, one.number) for one in first if one] == [(0, 0), (1, 1)]
    for rank in range(2):
        queue.deliver(rank, rank)
    second = [queue.take(rank) for rank in range(2)]
    assert [(one.store, one.number) for one in second if one] == [(0, 2), (1, 3)]


def test_what_is_out_for_too_long_is_given_to_another_and_the_first_to_deliver_counts() -> None:
    clock = Clock()
    queue = RangeQueue([40], 4, 10, clock)
    ranges = [queue.take(rank) for rank in range(4)]
    assert queue.late_in is None and queue.take(0) is None
    clock.now = 5.0
    for rank in range(3):
        assert queue.deliver(rank, rank)[1] == []
    assert queue.take(0) is None and queue.late_in == pytest.approx(5.0)  # twice the median of 5 s
    clock.now = 10.0
    assert queue.take(0) == ranges[3]
    assert queue.take(1) is None, f"{COPIES} workers are enough"
    assert queue.deliver(0, "copy") == (ranges[3], [3]) and queue.at_work == []
    assert queue.writable(0) == [0, 1, 2, "copy"] and queue.over and queue.take(1) is None


def test_short_ranges_are_not_taken_over_at_once() -> None:
    clock = Clock()
    queue = RangeQueue([20], 2, 10, clock)
    queue.take(0), queue.take(1)
    clock.now = 0.1
    queue.deliver(0, 0)
    clock.now = LEAST_SECONDS - 0.01
    assert queue.take(0) is None


def test_rows_that_wait_for_a_slow_worker_are_few() -> None:
    queue = RangeQueue([1000], 3, 10, Clock())
    queue.take(0)
    out = 0
    while (one := queue.take(1)) is not None:
        out = max(out, one.number)
        queue.deliver(1, one.number)
    assert out < 3 * AHEAD and queue.writable(0) == []


def test_a_store_that_is_given_up_leaves_the_others() -> None:
    queue = RangeQueue([20, 20], 3, 10)
    taken = [queue.take(rank) for rank in range(3)]
    assert Counter(one.store for one in taken if one) == {0: 2, 1: 1}
    assert queue.drop(0, 0) == [2] and queue.at_work == [1]
    queue.deliver(1, "a")
    assert queue.take(0).number == 0 if taken[1].number else queue.take(0).number == 1
    queue.deliver(0, "b")
    assert len(queue.writable(1)) == 2 and queue.over
