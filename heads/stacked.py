"""The trainer: K heads at once on features held whole in memory; one head is a stack of one.

Everything random of a head comes from its own seed: initial weights, batch order, dropout, the views drawn. So a head
in a stack equals the same head trained alone, and heads with one seed are compared on equal terms.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from featcache.options import TrainingOptions
from heads.features import Features, SplitFeatures
from heads.metrics import TOP_K, in_top_k
from heads.module import HeadStack


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one head; accuracies are fractions, the training figures those seen while training."""

    epoch: int
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    val_top3: float
    learning_rate: float
    seconds: float  # of the whole stack


@dataclass
class TrainedHead:
    """One head after training: its best epoch's weights and its curve."""

    seed: int
    best_epoch: int
    state: dict[str, Tensor]
    curve: list[EpochRow] = field(default_factory=list)
    diverged: int | None = None  # the epoch whose loss was not finite, after which it was left alone


def train_heads(
    features: Features,
    dims: Sequence[int],
    seeds: Sequence[int],
    training: TrainingOptions,
    *,
    batch_size: int,
    dropout: float,
) -> list[TrainedHead]:
    """Train a head `dims` for each seed on `features` and keep each one's best epoch on val.

    A head whose loss is not finite stops alone, with the best weights it had; `state` is empty where it had none.
    """
    train, val = features.splits["train"], features.splits["val"]
    device = train.x.device
    stack = HeadStack(dims, seeds, device)
    optimizer = _optimizer(stack, len(seeds), training)
    draws = [_Draws(seed, device) for seed in seeds]
    smoothing = torch.full((len(seeds),), training.label_smoothing, device=device)
    heads = [TrainedHead(seed, -1, {}) for seed in seeds]
    best = [(-math.inf,) * 3] * len(seeds)
    running = list(range(len(seeds)))
    for epoch in range(training.epochs):
        begin = time.perf_counter()
        rate = training.learning_rate * _rate_factor(training.scheduler, epoch, training.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, right = _train_epoch(stack, train, draws, epoch, batch_size, dropout, smoothing, optimizer)
        val_loss, val_top1, val_top3 = evaluate(stack, val)
        seconds = time.perf_counter() - begin
        for k in list(running):
            row = EpochRow(epoch, loss[k], right[k], val_loss[k], val_top1[k], val_top3[k], rate, seconds)
            heads[k].curve.append(row)
            if not (math.isfinite(row.train_loss) and math.isfinite(row.val_loss)):
                heads[k].diverged = epoch
                running.remove(k)
                continue
            score = _score(row, training.selection_metric)
            if score > best[k]:
                best[k] = score
                heads[k].best_epoch, heads[k].state = epoch, stack.state_dict(k)
            elif training.patience is not None and epoch - heads[k].best_epoch >= training.patience:
                running.remove(k)
        if not running:
            break
    return heads


def evaluate(stack: HeadStack, split: SplitFeatures) -> tuple[list[float], list[float], list[float]]:
    """Loss, top-1 and top-3 accuracy of each head on a split's plain images."""
    logits = stack.logits(split.plain)
    k, n, _ = logits.shape
    loss = cross_entropy(logits.flatten(0, 1), split.y.repeat(k), reduction="none").view(k, n).mean(dim=1)
    labels = split.y.expand(k, n)
    top1 = in_top_k(logits, labels, 1).double().mean(dim=1)
    top3 = in_top_k(logits, labels, TOP_K).double().mean(dim=1)
    return loss.tolist(), top1.tolist(), top3.tolist()


def _train_epoch(
    stack: HeadStack,
    train: SplitFeatures,
    draws: Sequence[_Draws],
    epoch: int,
    batch_size: int,
    dropout: float,
    smoothing: Tensor,
    optimizer: torch.optim.Optimizer,
) -> tuple[list[float], list[float]]:
    n, views, width = train.x.shape
    flat = train.x.view(n * views, width)
    for draw in draws:
        draw.begin(epoch)
    order = torch.stack([d.order(n) for d in draws])  # [K, N]
    view = torch.stack([d.views(n, views) for d in draws])
    rows = order * views + view.gather(1, order)
    labels = train.y[order]
    loss = torch.zeros(len(draws), device=flat.device)
    right = torch.zeros(len(draws), device=flat.device)
    for start in range(0, n, batch_size):
        y = labels[:, start : start + batch_size]
        x = flat[rows[:, start : start + batch_size]]
        keep = [_keep(draws, y.shape[1], hidden, dropout) for hidden in stack.dims[1:-1]]
        step_loss, step_right = stack.step(x, y, keep, smoothing)
        optimizer.step()
        loss += step_loss * y.shape[1]
        right += step_right
    return (loss / n).tolist(), (right / n).tolist()


def _keep(draws: Sequence[_Draws], batch: int, hidden: int, dropout: float) -> Tensor:
    if dropout == 0:
        return torch.ones(1, device=draws[0].device)
    uniform = torch.stack([d.uniform(batch, hidden) for d in draws])
    return (uniform >= dropout).to(torch.float32).div_(1 - dropout)


class _Draws:
    """The random draws of one head: each epoch starts from (seed, epoch), so that an epoch stands for itself."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.device = device
        self._order = torch.Generator()  # on the CPU: the same order on every device
        self._dropout = torch.Generator(device)

    def begin(self, epoch: int) -> None:
        # Seeds 2^32 apart leave room for epochs, and the two streams never meet.
        self._order.manual_seed((self.seed << 32) + 2 * epoch)
        self._dropout.manual_seed((self.seed << 32) + 2 * epoch + 1)

    def order(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self._order).to(self.device)

    def views(self, n: int, views: int) -> Tensor:
        return torch.randint(views, (n,), generator=self._order).to(self.device)

    def uniform(self, batch: int, hidden: int) -> Tensor:
        return torch.rand(batch, hidden, generator=self._dropout, device=self.device)


def _optimizer(stack: HeadStack, heads: int, training: TrainingOptions) -> torch.optim.Optimizer:
    """PyTorch's own optimiser over views of the stack: the update of each head is that of a head alone."""
    parameters = [p for k in range(heads) for p in stack.parameters(k)]
    rate, decay = training.learning_rate, training.weight_decay
    match training.optimizer:
        case "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=True)
        case "sgd":
            return torch.optim.SGD(parameters, rate, momentum=training.momentum, weight_decay=decay, fused=True)


def _rate_factor(scheduler: str, epoch: int, epochs: int) -> float:
    match scheduler:
        case "cosine":  # Loshchilov and Hutter 2017, one period down to zero
            return 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        case "step":
            return 0.1 ** ((2 * epoch >= epochs) + (4 * epoch >= 3 * epochs))
        case _:
            return 1.0


def _score(row: EpochRow, metric: str) -> tuple[float, float, float]:
    """Larger is better; ties of the metric go to top-1 and then to the lower loss, equal ones to the earlier epoch."""
    first = {"val_top1": row.val_top1, "val_top3": row.val_top3, "val_loss": -row.val_loss}[metric]
    return first, row.val_top1, -row.val_loss
