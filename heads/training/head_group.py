"""Heads of equal widths trained as one stack: batches, dropout, label smoothing, steps, metrics on val."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.extraction import Indices
from heads.training.class_weights import StackWeights
from heads.training.cuda_graph import CapturedStep
from heads.training.epoch_batches import Batches, padded
from heads.training.epoch_outcomes import Seen
from heads.training.features import Block, Features
from heads.training.head_spec import HeadSpec
from heads.training.head_stack import HeadStack
from heads.training.metrics import image_metrics
from heads.training.random_draws import Draws, scale, threshold
from heads.training.soft_targets import StackTeacher
from heads.training.stack_optimiser import StackOptimiser
from heads.training.val_buffer import ValBuffer, whole_metrics

EVALUATION_FLOATS = 1 << 25  # features and hidden values of an evaluation, held at once


# Of features and dropout, made ready for the next steps at once: few calls, and on a CPU still in the cache when used.
KEEP_FLOATS = (1 << 20, 1 << 27)


class HeadGroup:
    """Heads of equal widths on one device. A head that has stopped stays until enough others have, and harms none."""

    def __init__(
        self,
        features: Features,
        heads: Sequence[HeadSpec],
        batch_size: int,
        *,
        keep_weights: bool = True,
        keep_outcomes: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        self.heads = tuple(heads)
        self._keep_outcomes = keep_outcomes
        self._also = tuple(also)  # metrics of the whole split, beside those that choose epochs
        self.running = list(range(len(heads)))  # places in `heads`
        self._features, self._device = features, features.device
        self._metrics = image_metrics()
        self._batch = min(batch_size, max(len(fold.train) for fold in features.folds))
        self._stack = HeadStack(heads[0].dims, [h.seed for h in heads], features.device)
        self._updates = StackOptimiser(self._stack, [h.training for h in heads])
        self._best = [v.clone() for v in self._stack.values] if keep_weights else []
        self._units = sum(heads[0].dims[1:-1])
        floats = KEEP_FLOATS[features.device.type == "cuda"]
        self._steps_at_once = max(1, floats // (len(heads) * self._batch * max(heads[0].dims[0], self._units)))
        self._hold(self.running)

    def begin(self, epoch: int) -> None:
        """Start an epoch. Heads that have stopped make room once they are a quarter of those held."""
        if 4 * len(self.running) <= 3 * len(self._held):
            left = torch.tensor([self._held.index(k) for k in self.running], device=self._device)
            self._stack.select(left)
            self._updates.select(left)
            self._hold(self.running)
        self._epoch = epoch
        self._updates.begin(epoch)
        self._sums.zero_()
        self._seen = np.zeros(len(self._held), np.int64)

    @torch.inference_mode()  # a step is twenty small operations: each is quicker without autograd's bookkeeping
    def train(self, block: Block) -> None:
        """One pass over the training images of a block. Nothing waits for the device."""
        draws = {seed: Draws(seed, self._epoch, block.number) for seed in self._seeds}
        batches = self._batches(block)
        self._seen += batches.images
        # A graph wants batches of one size; without one, the last batch is no longer than it must be.
        graph = self._captured
        length = batches.rows.shape[1] if graph is not None else int(batches.images.max())
        if not length:
            return
        target, share = self._target(batches), self._upload(batches.share)[:, None]
        plain = share
        pull = (target * share).neg_()
        if (weighted := batches.weighted) is not None:
            share, pulled, counted = (
                self._upload(a)[:, None] for a in (weighted.softmax, weighted.target, weighted.loss)
            )
            pull, target = (target * pulled).neg_(), target * counted
        soft = None
        if self._teacher is not None:
            assert block.soft is not None
            soft = self._teacher.batches(block.soft, self._upload(batches.rows), batches.of_pool, plain)
            pull, target, share = (t * (1 - soft.weight) for t in (pull, target, share))
            pull += soft.pull
        seen: list[Tensor] = []
        at_once = self._batch * self._steps_at_once
        for begin in range(0, length, at_once):
            rows = batches.rows[:, begin : min(begin + at_once, length)]
            x = block.x.index_select(0, self._upload(rows.ravel())).view(*rows.shape, -1)
            cut = slice(begin, begin + rows.shape[1])
            given = [pull, share] if soft is None else [pull, share, soft.share]
            parts = [x.split(self._batch, 1), *(t[..., cut].split(self._batch, 2) for t in given)]
            for inputs in zip(*parts, self._keep(draws, len(parts[0])).unbind(1), strict=True):
                seen.append(self._step(*inputs) if graph is None else graph(self._step, *inputs).clone())
        logits, target = torch.cat(seen, dim=2), target[..., :length]
        labels, real = (self._upload(a[:, :length]) for a in (batches.labels, batches.share > 0))
        self._sums[0] -= (logits.log_softmax(dim=1) * target).sum(dim=(1, 2))
        if soft is not None and self._teacher is not None:
            self._sums[0] += self._teacher.losses(logits, soft.first(length))
        self._sums[1] += ((logits.argmax(dim=1) == labels) & real).sum(dim=1)

    @torch.inference_mode()
    def evaluate(self, block: Block) -> None:
        """Add a block's validation images to the epoch's figures."""
        located = [self._located(block, f.val) for f in self._features.folds]
        chosen = [places for places, _ in located]
        folds = [h.fold for h in self._current]
        folds = folds[:1] if len(set(folds)) == 1 else folds  # then all heads share one matrix of features
        longest = max(len(chosen[f]) for f in folds)
        if not longest:
            return
        places = np.stack([np.resize(chosen[f] if len(chosen[f]) else [0], longest) for f in folds])
        real = self._upload(np.stack([np.arange(longest) < len(chosen[f]) for f in folds]))
        rows = self._upload(block.first[places])
        labels = self._upload(self._features.labels[block.images][places])
        seats = self._seats([located[f][1] for f in folds], longest)
        held = len(self._held)
        size = max(1, EVALUATION_FLOATS // (held * max(self._stack.dims)))
        for start in range(0, longest, size):
            cut = slice(start, start + size)
            x = block.x[rows[0, cut]] if len(folds) == 1 else block.x[rows[:, cut]]
            logits, y = self._stack.logits(x), labels[:, cut].expand(held, -1)
            found = [metric.values(logits, y) for metric in self._metrics.values()]
            self._sums[2:] += torch.stack([torch.where(real[:, cut], f.float(), 0.0).sum(dim=1) for f in found])
            if self._buffer is not None and seats is not None:
                self._buffer.add(seats[:, cut], logits, dict(zip(self._metrics, found, strict=True)))

    def figures(self) -> dict[int, tuple[float, float, dict[str, float]]]:
        """Of each running head: train loss and top-1, every metric on val. An epoch's one wait for the device."""
        table: dict[int, tuple[float, float, dict[str, float]]] = {}
        sums = self._sums.T.tolist()
        whole = self._buffer.whole() if self._buffer is not None else [{} for _ in self._held]
        for k in self.running:
            row = self._held.index(k)
            train, val = int(self._seen[row]), len(self._features.folds[self.heads[k].fold].val)
            loss, right, *seen = sums[row]
            on_val = {name: value / val for name, value in zip(self._metrics, seen, strict=True)}
            table[k] = loss / train, right / train, {**on_val, **whole[row]}
        return table

    def outcomes(self) -> dict[int, Seen]:
        """Of each running head what `EpochOutcomes.add` takes of this epoch; empty without `keep_outcomes`."""
        every = self._buffer.outcomes() if self._buffer is not None and self._keep_outcomes else []
        return {k: one for k, one in zip(self._held, every, strict=False) if k in self.running}

    def keep_best(self, places: Sequence[int]) -> None:
        """Keep the weights of these heads, whose epoch was their best so far."""
        if not self._best or not places:
            return
        to = torch.tensor(places, device=self._device)
        here = torch.tensor([self._held.index(k) for k in places], device=self._device)
        for best, value in zip(self._best, self._stack.values, strict=True):
            best.index_copy_(0, to, value if len(places) == len(self._held) else value[here])

    def stop(self, places: Sequence[int]) -> None:
        """Train these heads no further."""
        self.running = [k for k in self.running if k not in places]

    def best_state(self, place: int) -> dict[str, Tensor]:
        """The weights of a head's best epoch, under the names that `build_head` gives."""
        return {n: v[place].clone() for n, v in zip(self._stack.names, self._best, strict=True)}

    def _hold(self, places: Sequence[int]) -> None:
        """What follows from which heads the stack holds."""
        self._held = list(places)
        self._current = [self.heads[k] for k in places]
        self._seeds = list(dict.fromkeys(h.seed for h in self._current))
        self._seed_of = torch.tensor([self._seeds.index(h.seed) for h in self._current], device=self._device)
        self._sums = torch.zeros(2 + len(self._metrics), len(places), device=self._device)
        asked = self._keep_outcomes or self._also or any(whole_metrics(h) for h in self._current)
        self._buffer = None
        if asked:
            keep = self._keep_outcomes
            self._buffer = ValBuffer(self._features, self._current, keep_outcomes=keep, also=self._also)
        smoothing = [h.training.label_smoothing for h in self._current]
        self._smoothing = self._column(smoothing) if any(smoothing) else None
        self._weights: StackWeights | None = None
        if self._features.weights is not None or any(h.training.class_weights is not None for h in self._current):
            self._weights = StackWeights(self._features, self._current)
            self._class_weights = torch.from_numpy(self._weights.of_classes).float().to(self._device)[..., None]
        soft = self._features.soft
        self._teacher = None if soft is None else StackTeacher(soft, self._current, self._device)
        self._scale: Tensor | None = None
        self._threshold: Tensor | None = None
        if self._units and any(h.dropout for h in self._current):
            self._scale = self._column([scale(h.dropout) for h in self._current])
            self._threshold = self._column([threshold(h.dropout) for h in self._current])
        self._captured = CapturedStep() if self._device.type == "cuda" else None

    def _column(self, values: Sequence[float]) -> Tensor:
        """A value for each head, `[K, 1, 1]`."""
        return torch.tensor(values, dtype=torch.float32, device=self._device)[:, None, None]

    def _step(self, x: Tensor, pull: Tensor, share: Tensor, *more: Tensor) -> Tensor:
        """One update of every head; what `HeadStack.step` takes and gives. Last of `more` is `keep`, of all hidden
        layers in one, after what images count for a teacher."""
        *counts, keep = more
        softened = (counts[0], self._teacher.temperature) if self._teacher is not None else None
        layers: tuple[Tensor, ...] = ()
        if self._scale is not None:
            keep = keep if keep.shape[2] == x.shape[1] else keep[..., : x.shape[1]]
            layers = keep.split(list(self._stack.dims[1:-1]), dim=1)
        logits = self._stack.step(x, pull, share, layers, self._scale, softened)
        self._updates.step()
        return logits

    def _target(self, batches: Batches) -> Tensor:
        """The distribution over classes that each image's logits are drawn to, `[K, C, n]`: zeros for what only fills
        the last batch up."""
        labels, classes = self._upload(batches.labels)[:, None], self._stack.dims[-1]
        target = torch.zeros(len(labels), classes, labels.shape[-1], device=self._device).scatter_(1, labels, 1.0)
        if self._smoothing is not None:
            target = target.mul_(1 - self._smoothing).add_(self._smoothing / classes)
        if self._weights is not None:
            target = target.mul_(self._class_weights)
        return target.mul_(self._upload(batches.share > 0)[:, None])

    def _keep(self, draws: dict[int, Draws], steps: int) -> Tensor:
        """What hidden units are multiplied by in the next steps, `[K, steps, units, B]`."""
        shape = (len(self._held), steps, self._units, self._batch)
        if self._scale is None or self._threshold is None:
            return torch.empty(1, device=self._device).expand(shape)
        drawn = [draws[s].dropout(steps, self._units, self._batch) for s in self._seeds]
        every = self._upload(np.stack(drawn) if len(drawn) > 1 else drawn[0][None])
        if len(drawn) == 1:
            every = every.expand(shape)
        elif len(drawn) < len(self._held):
            every = every[self._seed_of]
        return every.to(torch.float32).ge_(self._threshold[..., None]).mul_(self._scale[..., None])

    def _batches(self, block: Block) -> Batches:
        known: dict[tuple[int, int, bool], tuple[Indices, Indices, Indices]] = {}
        for head in self._current:
            key = (head.seed, head.fold, head.training.balanced_draws)
            if key not in known:
                draws = Draws(head.seed, self._epoch, block.number)  # its own: each fold begins the stream anew
                local = self._local(block, self._features.folds[head.fold].train)
                own = self._features.labels[block.images[local]]
                local = local[draws.balanced(own) if key[2] else draws.order(len(local))]
                rows = block.first[local]
                if len(local) and (views := int(self._features.views[block.images[local[0]]])) > 1:
                    rows = rows + draws.views(len(local), views)
                of_pool = block.images[local]
                known[key] = rows, self._features.labels[of_pool], of_pool
        every = [known[h.seed, h.fold, h.training.balanced_draws] for h in self._current]
        images = np.array([len(rows) for rows, *_ in every])
        length = -(-int(images.max()) // self._batch) * self._batch
        size = np.clip(images[:, None] - np.arange(0, length, self._batch), 1, self._batch)  # of each batch
        share = np.where(np.arange(length) < images[:, None], 1 / np.repeat(size, self._batch, axis=1), 0)
        share = share.astype(np.float32)
        rows, labels = (padded([e[i] for e in every], length) for i in (0, 1))
        of_pool = padded([e[2] for e in every], length)
        weighted = None if self._weights is None else self._weights.shares(of_pool, labels, share, self._batch)
        return Batches(rows, labels, share, images, of_pool, weighted)

    def _local(self, block: Block, images: Indices) -> Indices:
        """Where these images lie in a block; those that do not are left out."""
        return self._located(block, images)[0]

    def _located(self, block: Block, images: Indices) -> tuple[Indices, Indices]:
        """Where those of these images that are in a block lie in it, and which of them they are."""
        if len(block.images) == len(self._features.labels):
            return images, np.arange(len(images))
        place = np.full(len(self._features.labels), -1)
        place[block.images] = np.arange(len(block.images))
        found = place[images]
        here = np.flatnonzero(found >= 0)
        return found[here], here

    def _seats(self, which: Sequence[Indices], longest: int) -> Tensor | None:
        """Where a block's outcomes go among those of each head's validation images, `[K or 1, longest]`."""
        if self._buffer is None:
            return None
        seats = np.full((len(which), longest), self._buffer.width)
        for row, own in zip(seats, which, strict=True):
            row[: len(own)] = own
        return self._upload(seats)

    def _upload(self, values: NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(values)
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)  # from other memory the CPU would have to wait
