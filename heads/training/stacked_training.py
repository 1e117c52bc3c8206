"""Many heads trained at once, each with options of its own: the loop over epochs, and what shares a stack.

Everything random of a head comes from its own seed: initial weights, batch order, dropout, the views drawn. So a head
in a stack equals the same head trained alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import pairwise

import torch

from featcache.devices import products_in
from heads.training.epoch_outcomes import EpochOutcomes
from heads.training.features import Features
from heads.training.head_group import HeadGroup
from heads.training.head_spec import HeadSpec
from heads.training.normalisation import FITTED, NormalisedBlocks
from heads.training.schedulers import rate_factor
from heads.training.trained_head import EpochRow, TrainedHead, epoch_row

# On a CPU, weights and optimiser state that stay in a core's share of the cache from step to step need not come from
# memory: heads that fit it train one group to a thread, larger ones one after the other with every thread. By rule,
# not by what happens to be free: equal options, equal bits.
CACHE_BYTES = 12 << 20  # for each thread


MEMORY_BYTES = 6 << 30  # of all heads that are trained side by side


# Told of each epoch of each head, by its index; says True to stop that head.
Watch = Callable[[int, EpochRow], bool]


Each = Callable[[Callable[[HeadGroup], None], Sequence[HeadGroup]], object]


def train_heads(
    features: Features,
    heads: Sequence[HeadSpec],
    *,
    batch_size: int,
    keep_weights: bool = True,
    keep_outcomes: bool = False,
    also: Sequence[str] = (),
    watch: Watch | None = None,
) -> list[TrainedHead]:
    """Train every head and keep each one's best epoch on val; without `keep_weights` only their curves. With
    `keep_outcomes`, also which validation images each had right after every epoch (`TrainedHead.outcomes`). `also`
    names metrics of the whole split that every epoch is to have beside the one that chooses it.

    A head whose loss is not finite stops alone, with the best weights it had; `state` is empty where it had none.
    """
    trained = [TrainedHead(h.seed, h.fold, normalise=h.normalise) for h in heads]
    if keep_outcomes:
        for one in trained:
            one.outcomes = EpochOutcomes(len(features.folds[one.fold].val))
    make = partial(HeadGroup, features, batch_size=batch_size, keep_weights=keep_weights, keep_outcomes=keep_outcomes)
    with _on(features.device), products_in("float32", features.device):
        for groups, workers in _groups(features, heads, batch_size):
            made = [(c, make([heads[m] for m in c], also=also)) for c in groups]
            blocks = NormalisedBlocks(features, heads[groups[0][0]])
            with _each(workers) as each:
                _train(blocks, made, trained, watch, each)
            if keep_weights:
                _take_best(made, trained, blocks)
            del made  # before the next ones are: together they may not fit the memory
    return trained


def _take_best(
    groups: Sequence[tuple[list[int], HeadGroup]], trained: Sequence[TrainedHead], blocks: NormalisedBlocks
) -> None:
    for members, group in groups:
        for place, index in enumerate(members):
            if trained[index].best_epoch >= 0:
                trained[index].state = group.best_state(place)
                blocks.keep(trained[index])


def _on(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def _each(workers: int) -> Iterator[Each]:
    """Does a piece of work for each group: one after the other, or in `workers` threads of one core each."""
    if workers == 1:
        yield lambda work, groups: deque(map(work, groups), maxlen=0)
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of each operation; it holds for the whole process
    try:
        with ThreadPoolExecutor(workers, "heads") as pool:
            yield lambda work, groups: list(pool.map(work, groups))
    finally:
        torch.set_num_threads(threads)


def _groups(features: Features, heads: Sequence[HeadSpec], batch_size: int) -> Iterator[tuple[list[list[int]], int]]:
    """Heads that are trained side by side, by index, in the groups that share matrix products; and in how many threads
    the groups are worked on."""
    alike: dict[tuple[tuple[int, ...], int, tuple[str, int]], list[int]] = {}
    for index, head in enumerate(heads):
        # Folds differ by an image or so: as long as that makes no further step, they share a group.
        steps = -(-len(features.folds[head.fold].train) // batch_size) if features.block_count == 1 else head.fold
        given = head.normalise, head.fold if head.normalise in FITTED else 0  # the features that it trains on
        alike.setdefault((head.dims, steps, given), []).append(index)
    threads = torch.get_num_threads() if features.device.type == "cpu" else 1
    for (dims, *_), members in alike.items():
        every, together = _limits(features.device, sum(a * b + b for a, b in pairwise(dims)))
        for start in range(0, len(members), every):
            side_by_side = members[start : min(start + every, len(members))]
            size = max(1, min(together, -(-len(side_by_side) // threads)))
            groups = [side_by_side[s : s + size] for s in range(0, len(side_by_side), size)]
            yield groups, min(threads, len(groups)) if together else 1


def _limits(device: torch.device, parameters: int) -> tuple[int, int]:
    """How many heads may be in memory at once, and how many in one group: 0 where even one is too large for a core."""
    state = 16 * parameters  # weights, gradients and two of optimiser state; the best weights come on top
    if device.type == "cpu":
        return max(1, MEMORY_BYTES // (state + 4 * parameters)), CACHE_BYTES // state
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 2 * MEMORY_BYTES
    every = max(1, memory // 2 // (state + 4 * parameters))
    return every, every


def _train(
    blocks: NormalisedBlocks,
    groups: Sequence[tuple[list[int], HeadGroup]],
    trained: Sequence[TrainedHead],
    watch: Watch | None,
    each: Each,
) -> None:
    """All epochs of some groups, epoch by epoch side by side."""
    epoch = 0
    while running := [c for c in groups if c[1].running]:
        begin = time.perf_counter()
        live = [group for _, group in running]
        for group in live:
            group.begin(epoch)
        for block in blocks(epoch):
            each(partial(HeadGroup.train, block=block), live)
        for block in blocks(epoch):
            each(partial(HeadGroup.evaluate, block=block), live)
        figures = [group.figures() for group in live]
        seconds = time.perf_counter() - begin
        for (members, group), table in zip(running, figures, strict=True):
            better, stopped = [], []
            for place, (train_loss, train_top1, on_val) in table.items():
                head, one = group.heads[place], trained[members[place]]
                rate = head.training.learning_rate * rate_factor(head.training, epoch)
                row = epoch_row(epoch, (train_loss, train_top1), on_val, rate, seconds, rates=str(rate))
                if one.note(row, head.training.selection_metric):
                    better.append(place)
                if (watch is not None and watch(members[place], row)) or one.over(head.training):
                    stopped.append(place)
            for place, seen in group.outcomes().items():
                outcomes = trained[members[place]].outcomes
                assert outcomes is not None
                outcomes.add(seen, best=place in better)
            group.keep_best(better)
            group.stop(stopped)
        epoch += 1
