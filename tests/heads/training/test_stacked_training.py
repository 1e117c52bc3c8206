"""The trainer: a stacked head is the solo head, and the solo head is the plain PyTorch loop's."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from sklearn.metrics import f1_score, recall_score, roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from featcache.backbones import build_head
from featcache.options.training_options import TrainingOptions
from heads.training.features import Features, Fold
from heads.training.head_group import HeadGroup
from heads.training.head_spec import HeadSpec
from heads.training.head_stack import HeadStack, initial_state
from heads.training.random_draws import Draws, scale, threshold
from heads.training.stacked_training import train_heads
from heads.training.trained_head import EpochRow, TrainedHead

DIMS = (12, 24, 4)
BATCH = 16


def toy(
    train: int = 70,
    val: int = 40,
    views: int = 1,
    folds: int = 1,
    spread: float = 1.5,
    scaled: float = 1.0,
    limit_bytes: float = math.inf,
    kinds: tuple[int, ...] = (0, 1, 2, 3),
) -> Features:
    """Four noisy clusters, so that there is something to learn and something to get wrong, images of them in the order
    of `kinds`; with several folds the pool is cut, and every image has all views."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(4, DIMS[0], generator=generator)
    count = train + val
    labels = torch.tensor(kinds)[torch.arange(count) % len(kinds)]
    of_each = np.full(count, views)
    if folds == 1:
        of_each[train:] = 1
    noise = torch.randn(count, views, DIMS[0], generator=generator)
    x = scaled * (centres[labels][:, None] + spread * noise)
    values = torch.cat([one[:v] for one, v in zip(x, of_each.tolist(), strict=True)]).numpy()
    every = np.arange(count)
    cut = tuple(Fold(every[every // 4 % folds != f], every[every // 4 % folds == f]) for f in range(folds))
    return Features(
        rows=ArrayRows(values, np.cumsum(of_each) - of_each, of_each),
        labels=labels.numpy(),
        views=of_each,
        folds=cut if folds > 1 else (Fold(every[:train], every[train:]),),
        classes=4,
        device=torch.device("cpu"),
        limit_bytes=limit_bytes,
    )


def head(seed: int, dims: tuple[int, ...] = DIMS, dropout: float = 0.3, fold: int = 0, **options: object) -> HeadSpec:
    training = TrainingOptions.model_validate({"epochs": 6, "learning_rate": 0.003, **options})
    return HeadSpec(dims, training, seed, dropout, fold)


def train(features: Features, *heads: HeadSpec, batch_size: int = BATCH) -> list[TrainedHead]:
    return train_heads(features, heads, batch_size=batch_size)


def curve(trained: TrainedHead) -> Tensor:
    return torch.tensor([[r.train_loss, r.train_top1, r.val_loss, r.val_top1, r.val_top3] for r in trained.curve])


def losses(trained: TrainedHead) -> Tensor:
    return curve(trained)[:, [0, 2]]


@dataclass
class Plain:
    """What the loop anyone writes comes to."""

    losses: list[tuple[float, float]]  # of train and val, epoch by epoch
    best_epoch: int = -1
    margin: float = math.inf  # how near any comparison that decides on the best epoch was to the other way round


def plain_loop(
    features: Features,
    head: HeadSpec,
    batch_size: int = BATCH,
    weights: Tensor | None = None,
    counts: Tensor | None = None,
) -> Plain:
    """nn.Sequential, autograd and torch.optim, fed the same order and dropout draws; `weights` of classes, and what
    each image's loss is multiplied by."""
    training, fold = head.training, features.folds[head.fold]
    torch.manual_seed(head.seed)
    layers = [nn.Linear(a, b) for a, b in pairwise(head.dims)]
    model = nn.Sequential(*[m for layer in layers[:-1] for m in (layer, nn.ReLU())], layers[-1])
    optimizer = plain_optimizer(training, model)
    criterion = nn.CrossEntropyLoss(weights, label_smoothing=training.label_smoothing)
    x, y = torch.from_numpy(features.rows.values), torch.from_numpy(features.labels)
    batch_size = min(batch_size, max(len(f.train) for f in features.folds))  # a batch holds no more than there is
    found, best = Plain([]), (-math.inf, -math.inf, -math.inf)
    for epoch in range(training.epochs):
        for group in optimizer.param_groups:
            group["lr"] = plain_rate(training, epoch)
        total = 0.0
        for block in features.blocks(epoch):
            draws = Draws(head.seed, epoch, block.number)
            here = fold.train[np.isin(fold.train, block.images)]
            balanced = training.balanced_draws
            order = here[draws.balanced(features.labels[here]) if balanced else draws.order(len(here))]
            rows = features.rows.first[order]
            if features.views[order].max(initial=1) > 1:
                rows = rows + draws.views(len(order), int(features.views[order[0]]))
            for start in range(0, len(order), batch_size):
                batch = slice(start, start + batch_size)
                h, target = x[rows[batch]], y[order[batch]]
                drawn = torch.from_numpy(draws.dropout(1, sum(head.dims[1:-1]), batch_size)[0, :, : len(target)])
                for layer, own in zip(layers[:-1], drawn.split(head.dims[1:-1]), strict=True):
                    h = layer(h).relu() * (threshold(head.dropout) <= own.T) * scale(head.dropout)
                loss = criterion(layers[-1](h), target)
                if counts is not None:
                    smoothed = training.label_smoothing
                    each = cross_entropy(layers[-1](h), target, weights, reduction="none", label_smoothing=smoothed)
                    whole = len(target) if weights is None else weights[target].sum()
                    loss = (each * counts[order[batch]]).sum() / whole
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item() * len(target)
        with torch.no_grad():
            logits, target = model(x[features.rows.first[fold.val]]), y[fold.val]
        score = plain_score(training.selection_metric, logits, target)
        found.losses.append((total / len(fold.train), -score[-1]))
        found.margin = min(found.margin, abs(score[-1] - best[-1]), *plain_margins(training.selection_metric, logits))
        if score > best:
            found.best_epoch, best = epoch, score
        if training.patience is not None and epoch - found.best_epoch >= training.patience:
            break
    return found


def plain_score(metric: str, logits: Tensor, target: Tensor) -> tuple[float, float, float]:
    """What epochs are compared by: the metric as scikit-learn has it, then top-1, then the loss."""
    loss = nn.functional.cross_entropy(logits, target).item()
    said, true = logits.argmax(1).numpy(), target.numpy()
    top1 = float((said == true).mean())
    there = np.unique(true)
    if metric == "val_loss":
        return -loss, top1, -loss
    if metric == "val_balanced_accuracy":
        return round(float(recall_score(true, said, labels=there, average="macro")), 9), top1, -loss
    if metric == "val_macro_f1":
        return round(float(f1_score(true, said, labels=there, average="macro")), 9), top1, -loss
    if metric == "val_auroc":
        chances = logits.double().log_softmax(1).numpy()
        each = [roc_auc_score(true == c, chances[:, c]) for c in there if len(there) > 1]
        return round(float(np.mean(each)) if each else 0.5, 9), top1, -loss
    return top1, top1, -loss


def plain_margins(metric: str, logits: Tensor) -> list[float]:
    """How near a prediction, or for the area under a curve the order of two images, was to the other way round."""
    two = logits.topk(2).values
    margins = [(two[:, 0] - two[:, 1]).min().item()]
    if metric == "val_auroc":
        margins.append(logits.double().log_softmax(1).sort(dim=0).values.diff(dim=0).min().item())
    return margins


def plain_optimizer(training: TrainingOptions, model: nn.Module) -> torch.optim.Optimizer:
    rate, decay = training.learning_rate, training.weight_decay
    if training.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), rate, momentum=training.momentum, weight_decay=decay)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[training.optimizer]
    return kind(model.parameters(), rate, weight_decay=decay)


def plain_rate(training: TrainingOptions, epoch: int) -> float:
    full, warmup = training.learning_rate, training.warmup_epochs
    if epoch < warmup:
        return full * (epoch + 1) / (warmup + 1)
    left, done = training.epochs - warmup, epoch - warmup
    if training.scheduler == "cosine":
        return full * (1 + math.cos(math.pi * done / left)) / 2
    if training.scheduler == "step":
        return full * (1.0 if 2 * done < left else 0.1 if 4 * done < 3 * left else 0.01)
    return full


def assert_same(a: TrainedHead, b: TrainedHead) -> None:
    """Equal but for rounding, which differs with the shapes of matrix products."""
    assert len(a.curve) == len(b.curve)
    assert torch.allclose(curve(a), curve(b), atol=1e-5)
    assert a.best_epoch == b.best_epoch
    assert set(a.state) == set(b.state)
    assert all(torch.allclose(a.state[n], b.state[n], atol=1e-4) for n in b.state)


def assert_same_bits(a: Sequence[TrainedHead], b: Sequence[TrainedHead]) -> None:
    for one, other in zip(a, b, strict=True):
        assert torch.equal(curve(one), curve(other))
        assert one.best_epoch == other.best_epoch
        assert all(torch.equal(one.state[n], other.state[n]) for n in one.state)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("dims", [(12, 4), DIMS, (12, 20, 16, 4)])
def test_a_head_follows_the_plain_loop(optimizer: str, dims: tuple[int, ...]) -> None:
    features = toy()
    one = head(7, dims, optimizer=optimizer, label_smoothing=0.1, weight_decay=0.02)
    (trained,) = train(features, one)
    expected = plain_loop(features, one)
    assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=1e-4)
    assert losses(trained)[-1, 1] < losses(trained)[0, 1]  # it learned: there was something to follow


def test_sgd_without_momentum_follows_the_plain_loop() -> None:
    features = toy()
    one = head(7, optimizer="sgd", momentum=0.0, learning_rate=0.05)
    (trained,) = train(features, one)
    assert torch.allclose(losses(trained), torch.tensor(plain_loop(features, one).losses), atol=1e-4)


def test_a_head_with_views_follows_the_plain_loop() -> None:
    features = toy(views=3)
    (trained,) = train(features, head(7))
    assert torch.allclose(losses(trained), torch.tensor(plain_loop(features, head(7)).losses), atol=1e-4)


def test_dropout_drops_what_it_says() -> None:
    draws = Draws(1, 0).dropout(40, 50, 16)
    for p in (0.0, 0.2, 0.5, 0.9):
        dropped = (draws < threshold(p)).mean()
        assert dropped == pytest.approx(p, abs=0.01)
        assert scale(p) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_dropout_next_to_one_trains() -> None:
    (trained,) = train(toy(), head(1, dropout=0.999999))
    assert len(trained.curve) == 6


def test_dropout_does_not_depend_on_how_many_steps_are_drawn_at_once() -> None:
    together = Draws(3, 1).dropout(5, 7, 3)
    one_by_one = Draws(3, 1)
    assert np.array_equal(together, np.concatenate([one_by_one.dropout(1, 7, 3) for _ in range(5)]))
    assert not np.array_equal(together[0], together[1])


def test_a_stacked_head_is_the_solo_head() -> None:
    features = toy(views=3)
    heads = [head(seed) for seed in (1, 2, 3)]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert trained.seed == one.seed
        assert_same(trained, *train(features, one))


def test_heads_of_different_folds_are_their_solo_heads() -> None:
    features = toy(train=66, val=0, views=2, folds=3)  # folds of 24, 22 and 20 images
    assert len({len(f.train) for f in features.folds}) > 1
    heads = [head(seed, fold=fold) for seed in (1, 2) for fold in range(3)]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert trained.fold == one.fold
        assert_same(trained, *train(features, one))
        assert torch.allclose(losses(trained), torch.tensor(plain_loop(features, one).losses), atol=1e-4)


def test_the_same_options_give_the_same_bits() -> None:
    assert_same_bits(train(toy(), head(1), head(2)), train(toy(), head(1), head(2)))


def test_gradients_are_autograds() -> None:
    torch.manual_seed(0)
    dims, smoothing, dropout = (5, 7, 6, 3), (0.0, 0.2), 0.4
    stack = HeadStack(dims, [1, 2], torch.device("cpu"))
    x, y = torch.randn(2, 9, 5), torch.randint(3, (2, 9))
    keep = [(torch.rand(2, h, 9) > dropout) / (1 - dropout) for h in (7, 6)]
    target = torch.stack([(1 - s) * nn.functional.one_hot(y[k], 3).T + s / 3 for k, s in enumerate(smoothing)])
    scales = torch.full((2, 1, 1), 1 / (1 - dropout))
    logits = stack.step(x, -target / 9, torch.full((2, 1, 9), 1 / 9), keep, scales)
    for k in range(2):
        module = build_head(dims, 0.0)
        module.load_state_dict(initial_state(dims, k + 1))
        linear = [m for m in module if isinstance(m, nn.Linear)]
        h = linear[0](x[k]).relu() * keep[0][k].T
        h = linear[1](h).relu() * keep[1][k].T
        expected = linear[2](h)
        nn.functional.cross_entropy(expected, y[k], label_smoothing=smoothing[k]).backward()
        assert torch.allclose(logits[k].T, expected, atol=1e-6)
        for grad, parameter in zip(stack.grads, module.parameters(), strict=True):
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 1e-3
            assert torch.allclose(grad[k], parameter.grad, atol=1e-6)


def test_images_that_only_fill_a_batch_up_leave_no_gradient() -> None:
    torch.manual_seed(0)
    x, target = torch.randn(1, 9, 5), torch.softmax(torch.randn(1, 3, 9), 1)
    share = torch.zeros(1, 1, 9)
    share[..., :6] = 1 / 6
    padded, alone = (HeadStack((5, 7, 3), [1], torch.device("cpu")) for _ in range(2))
    pull = -target * share
    padded.step(x, pull, share)
    alone.step(x[:, :6], pull[..., :6], share[..., :6])
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(padded.grads, alone.grads, strict=True))


def test_the_best_epoch_is_the_best_on_val_and_its_weights_are_kept() -> None:
    features = toy()
    (trained,) = train(features, head(4, epochs=25, learning_rate=0.03))
    scores = [(r.val_top1, -r.val_loss) for r in trained.curve]
    assert trained.best_epoch == scores.index(max(scores))
    assert 0 < trained.best_epoch < 24  # else the check below would not tell best from last
    module = build_head(DIMS, 0.0)
    module.load_state_dict(trained.state)
    val = features.folds[0].val
    with torch.no_grad():
        logits = module(torch.from_numpy(features.rows.values[features.rows.first[val]]))
    target = torch.from_numpy(features.labels[val])
    assert nn.functional.cross_entropy(logits, target).item() == pytest.approx(trained.best.val_loss, abs=1e-6)
    assert (logits.argmax(1) == target).double().mean().item() == pytest.approx(trained.best.val_top1)


def test_each_stacked_head_keeps_its_own_best_epoch() -> None:
    features = toy()
    heads = [head(seed, epochs=25, learning_rate=rate) for seed, rate in ((4, 0.03), (5, 0.01), (6, 0.1))]
    trained = train(features, *heads)
    assert len({t.best_epoch for t in trained}) > 1
    val = features.folds[0].val
    x, target = torch.from_numpy(features.rows.values[features.rows.first[val]]), torch.from_numpy(features.labels[val])
    for one in trained:
        module = build_head(DIMS, 0.0)
        module.load_state_dict(one.state)
        with torch.no_grad():
            loss = nn.functional.cross_entropy(module(x), target).item()
        assert loss == pytest.approx(one.best.val_loss, abs=1e-6)


def test_without_weights_the_curves_are_the_same() -> None:
    (kept,), (bare,) = (train_heads(toy(), [head(1)], batch_size=BATCH, keep_weights=k) for k in (True, False))
    assert torch.equal(curve(kept), curve(bare))
    assert kept.state
    assert not bare.state


def test_the_selection_metric_decides() -> None:
    by_top1, by_loss = train(
        toy(),
        head(2, epochs=25, learning_rate=0.01, selection_metric="val_top1"),
        head(2, epochs=25, learning_rate=0.01, selection_metric="val_loss"),
    )
    values = [r.val_loss for r in by_loss.curve]
    assert by_loss.best_epoch == values.index(min(values))
    assert by_top1.best_epoch != by_loss.best_epoch


def test_a_head_whose_loss_is_not_finite_stops_and_is_reported() -> None:
    (trained,) = train(toy(scaled=1e18), head(1, optimizer="sgd"))
    assert trained.diverged is not None
    assert len(trained.curve) == trained.diverged + 1 < 6
    assert not trained.state


GROWS = {"optimizer": "sgd", "learning_rate": 1.0, "weight_decay": 4.0, "momentum": 0.1}  # weights x -2.9 in each step


@pytest.mark.parametrize("how_many", [1, 3])
def test_a_head_that_is_not_finite_stops_alone(how_many: int) -> None:
    features = toy()
    lost = [head(9 + k, epochs=40, dropout=0.0, **GROWS) for k in range(how_many)]
    fine = [head(seed, epochs=40) for seed in (1, 2)]
    trained = train(features, fine[0], *lost, fine[1])
    for one in trained[1:-1]:
        assert one.diverged is not None
        assert 2 < one.diverged < 39
        assert one.best_epoch < one.diverged
        assert all(v.isfinite().all() for v in one.state.values())
    for one, alone in zip((trained[0], trained[-1]), fine, strict=True):
        assert one.diverged is None
        assert len(one.curve) == 40
        assert_same(one, *train(features, alone))


def test_patience_stops_a_head_that_no_longer_improves() -> None:
    (trained,) = train(toy(), head(4, epochs=200, patience=5))
    assert len(trained.curve) == trained.best_epoch + 6 < 200


def test_heads_that_end_at_different_times_are_their_solo_heads() -> None:
    features = toy()
    heads = [head(s, epochs=n, patience=p) for s, n, p in ((1, 3, None), (2, 60, 3), (3, 25, None), (4, 1, None))]
    trained = train(features, *heads)
    assert [len(t.curve) for t in trained][0::2] == [3, 25]
    assert len({len(t.curve) for t in trained}) == 4
    for one, stacked in zip(heads, trained, strict=True):
        assert_same(stacked, *train(features, one))


def test_a_watch_stops_the_head_it_says() -> None:
    seen: list[tuple[int, int]] = []

    def watch(index: int, row: EpochRow) -> bool:
        seen.append((index, row.epoch))
        return index == 1 and row.epoch == 1

    trained = train_heads(toy(), [head(1), head(2), head(3)], batch_size=BATCH, watch=watch)
    assert [len(t.curve) for t in trained] == [6, 2, 6]
    assert sorted(seen) == [(0, e) for e in range(6)] + [(1, 0), (1, 1)] + [(2, e) for e in range(6)]
    for one, seed in ((trained[0], 1), (trained[2], 3)):
        assert_same(one, *train(toy(), head(seed)))


def rates(**options: object) -> list[float]:
    (trained,) = train(toy(), head(1, epochs=8, **options))
    return [r.learning_rate for r in trained.curve]


def test_schedulers_change_the_rate() -> None:
    assert rates() == [0.003] * 8
    assert rates(scheduler="step") == pytest.approx([0.003] * 4 + [0.0003] * 2 + [0.00003] * 2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.003)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    expected = []
    for _ in range(8):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert rates(scheduler="cosine") == pytest.approx(expected)


def test_the_rate_warms_up_before_the_scheduler_takes_over() -> None:
    assert rates(warmup_epochs=2) == pytest.approx([0.001, 0.002, *[0.003] * 6])
    assert rates(warmup_epochs=4, scheduler="step") == pytest.approx(
        [0.0006, 0.0012, 0.0018, 0.0024, 0.003, 0.003, 0.0003, 0.00003]
    )
    cosine = rates(warmup_epochs=2, scheduler="cosine")
    assert cosine[2] == 0.003
    assert cosine[2:] == sorted(cosine[2:], reverse=True)
    assert cosine[-1] < 0.0003


@pytest.mark.parametrize("scheduler", ["cosine", "step"])
def test_the_rate_that_is_written_down_is_the_rate_that_trains(scheduler: str) -> None:
    features = toy()
    one = head(1, epochs=8, warmup_epochs=2, scheduler=scheduler, learning_rate=0.01)
    (trained,) = train(features, one)
    assert torch.allclose(losses(trained), torch.tensor(plain_loop(features, one).losses), atol=1e-4)
    (constant,) = train(features, replace(one, training=one.training.model_copy(update={"scheduler": "none"})))
    assert not torch.allclose(losses(trained), losses(constant), atol=1e-3)


def test_views_are_drawn_anew_for_each_epoch_and_image() -> None:
    drawn = np.stack([Draws(1, epoch).views(100, 4) for epoch in range(40)])
    assert np.bincount(drawn.ravel(), minlength=4).min() > 800  # of 4,000, each view about a quarter
    assert not np.array_equal(drawn[0], drawn[1])


def test_orders_differ_by_seed_epoch_and_block() -> None:
    orders = [Draws(*key).order(50).tolist() for key in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


def test_every_view_is_trained_on() -> None:
    plain, several = toy(), toy(views=3)
    assert not torch.allclose(curve(*train(plain, head(1))), curve(*train(several, head(1))), atol=1e-3)


def test_views_that_are_all_alike_change_nothing() -> None:
    plain = toy()
    views = np.where(np.arange(110) < 70, 3, 1)
    values = np.repeat(plain.rows.values, views, axis=0)
    tripled = replace(plain, rows=ArrayRows(values, np.cumsum(views) - views, views), views=views)
    assert torch.allclose(curve(*train(plain, head(1))), curve(*train(tripled, head(1))), atol=1e-5)


def test_one_full_batch_trains() -> None:
    features = toy()
    (trained,) = train(features, head(1, epochs=30), batch_size=10_000)
    assert trained.curve[-1].train_loss < 0.8 * trained.curve[0].train_loss
    (exact,) = train(features, head(1, epochs=30), batch_size=70)
    assert len(exact.curve) == len(trained.curve)
    expected = plain_loop(features, head(1, epochs=30), batch_size=70)
    assert torch.allclose(losses(exact), torch.tensor(expected.losses), atol=1e-4)


def test_steps_on_copied_inputs_of_one_size_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a captured graph does with a step, without the graph: padded last batches, buffers that are overwritten."""

    class Copying:
        def __init__(self) -> None:
            self.inputs: list[torch.Tensor] = []
            self.shapes: set[tuple[torch.Size, ...]] = set()

        def __call__(self, step: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
            self.shapes.add(tuple(i.shape for i in inputs))
            assert len(self.shapes) == 1
            self.inputs = self.inputs or [torch.empty(i.shape, dtype=i.dtype) for i in inputs]
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            return step(*self.inputs)

    heads = [head(1), head(2, dropout=0.5, optimizer="sgd"), head(1, epochs=3), head(3, dropout=0.0)]
    plain = train(toy(70), *heads)
    hold = HeadGroup._hold

    def held(self: HeadGroup, places: Sequence[int]) -> None:
        hold(self, places)
        self._captured = Copying()  # type: ignore[assignment]

    monkeypatch.setattr(HeadGroup, "_hold", held)
    for a, b in zip(train(toy(70), *heads), plain, strict=True):
        assert torch.allclose(curve(a), curve(b), atol=1e-5)


def test_heads_that_train_one_group_after_the_other_are_not_in_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what they hold wait for Python to look for circles: on a GPU that may be too late for the next group."""
    alive: weakref.WeakSet[HeadGroup] = weakref.WeakSet()
    most = 0

    class Counted(HeadGroup):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            nonlocal most
            super().__init__(*arguments, **keywords)
            alive.add(self)
            most = max(most, len(alive))

    monkeypatch.setattr("heads.training.stacked_training.HeadGroup", Counted)
    collects = gc.isenabled()
    gc.disable()
    try:
        train(toy(), *(head(1, (DIMS[0], width, 4), epochs=2) for width in (8, 9, 10)))
    finally:
        if collects:
            gc.enable()
    assert (most, len(alive)) == (1, 0)


def test_neighbours_change_no_bit_however_long_and_fast_heads_train() -> None:
    """Where training is unstable one bit becomes a tenth of the loss in some twenty epochs."""
    fast = {"epochs": 40, "learning_rate": 0.03, "optimizer": "adam"}
    pair = [head(42, (12, 25, 4), **fast), head(43, (12, 25, 4), **fast)]
    others = [head(k, (12, 25, 4), epochs=40, learning_rate=0.016 + 0.001 * k, optimizer="adam") for k in range(7)]
    for alone, among in zip(train(toy(203), *pair), train(toy(203), *pair, *others)[:2], strict=True):
        assert torch.equal(curve(alone), curve(among))


def test_a_lone_head_with_every_core_is_the_one_in_a_stack_to_the_last_bit() -> None:
    """A lone head shares its operations between cores; in a stack it has a core to itself."""
    fast = {"epochs": 25, "learning_rate": 0.03, "optimizer": "adam"}
    heads = [head(seed, (12, 32, 4), dropout=0.0, **fast) for seed in (42, 43, 44, 45)]
    torch.set_num_threads(2)
    for one, among in list(zip(heads, train(toy(248), *heads, batch_size=32), strict=True))[:2]:
        assert torch.equal(curve(train(toy(248), one, batch_size=32)[0])[:, 0], curve(among)[:, 0])
