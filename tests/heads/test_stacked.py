"""The trainer: a stacked head is the solo head, and the solo head is the plain PyTorch loop's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from featcache.backbones import build_head
from featcache.options import TrainingOptions
from heads.features import Features, SplitFeatures
from heads.module import HeadStack, initial_state
from heads.stacked import TrainedHead, _Draws, train_heads

DIMS = (12, 24, 4)


def toy(n: int = 70, views: int = 1, scale: float = 1.0) -> Features:
    """Four noisy clusters, so that there is something to learn and something to get wrong."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.randn(4, DIMS[0], generator=generator)

    def split(count: int, v: int) -> SplitFeatures:
        y = torch.arange(count) % 4
        noise = torch.randn(count, v, DIMS[0], generator=generator)
        return SplitFeatures(scale * (centres[y][:, None] + 1.5 * noise), y)

    return Features({"train": split(n, views), "val": split(40, 1), "test": split(40, 1)}, 4)


def train(features: Features, seeds: list[int], dims: tuple[int, ...] = DIMS, **options: object) -> list[TrainedHead]:
    dropout = float(options.pop("dropout", 0.3))  # type: ignore[arg-type]
    batch_size = int(options.pop("batch_size", 16))  # type: ignore[call-overload]
    training = TrainingOptions.model_validate({"epochs": 6, "learning_rate": 0.003, **options})
    return train_heads(features, dims, seeds, training, batch_size=batch_size, dropout=dropout)


def curve(head: TrainedHead) -> torch.Tensor:
    return torch.tensor([[r.train_loss, r.train_top1, r.val_loss, r.val_top1, r.val_top3] for r in head.curve])


def plain_loop(
    features: Features, seed: int, dims: tuple[int, ...], dropout: float, training: TrainingOptions
) -> torch.Tensor:
    """The loop anyone writes, fed the same order and dropout draws: nn.Sequential, autograd, torch.optim."""
    torch.manual_seed(seed)
    model = build_head(dims, dropout)
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p, training.learning_rate, weight_decay=training.weight_decay),
        "adam": lambda p: torch.optim.Adam(p, training.learning_rate, weight_decay=training.weight_decay),
        "sgd": lambda p: torch.optim.SGD(
            p, training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
        ),
    }
    optimizer = kinds[training.optimizer](model.parameters())
    criterion = nn.CrossEntropyLoss(label_smoothing=training.label_smoothing)
    train_split, val = features.splits["train"], features.splits["val"]
    draws = _Draws(seed, torch.device("cpu"))
    rows = []
    for epoch in range(training.epochs):
        draws.begin(epoch)
        order = draws.order(len(train_split.y))
        draws.views(len(train_split.y), 1)
        total = 0.0
        for batch in order.split(16):
            h, linear = train_split.plain[batch], [m for m in model if isinstance(m, nn.Linear)]
            for layer in linear[:-1]:
                h = layer(h).relu()
                h = h * (draws.uniform(*h.shape) >= dropout) / (1 - dropout)
            loss = criterion(linear[-1](h), train_split.y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        with torch.no_grad():
            model.eval()
            val_loss = nn.functional.cross_entropy(model(val.plain), val.y).item()
        rows.append([total / len(train_split.y), val_loss])
    return torch.tensor(rows)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("dims", [(12, 4), DIMS, (12, 20, 16, 4)])
def test_a_head_follows_the_plain_loop(optimizer: str, dims: tuple[int, ...]) -> None:
    features = toy()
    options = {"optimizer": optimizer, "label_smoothing": 0.1, "weight_decay": 0.02}
    (head,) = train(features, [7], dims, **options)
    expected = plain_loop(
        features, 7, dims, 0.3, TrainingOptions.model_validate({"epochs": 6, "learning_rate": 0.003, **options})
    )
    assert torch.allclose(curve(head)[:, [0, 2]], expected, atol=1e-4)


def test_a_stacked_head_is_the_solo_head() -> None:
    features = toy(views=3)
    stacked = train(features, [1, 2, 3])
    for head in stacked:
        (solo,) = train(features, [head.seed])
        assert torch.allclose(curve(head), curve(solo), atol=1e-5)
        assert head.best_epoch == solo.best_epoch
        assert all(torch.allclose(head.state[n], solo.state[n], atol=1e-4) for n in solo.state)


def test_the_same_options_give_the_same_bits() -> None:
    first, second = train(toy(), [1, 2]), train(toy(), [1, 2])
    for a, b in zip(first, second, strict=True):
        assert torch.equal(curve(a), curve(b))
        assert all(torch.equal(a.state[n], b.state[n]) for n in a.state)


def test_gradients_are_autograds() -> None:
    torch.manual_seed(0)
    stack = HeadStack((5, 7, 6, 3), [1, 2], torch.device("cpu"))
    x, y = torch.randn(2, 9, 5), torch.randint(3, (2, 9))
    keep = [(torch.rand(2, 9, h) > 0.4).float() / 0.6 for h in (7, 6)]
    loss, right = stack.step(x, y, keep, torch.tensor([0.0, 0.2]))
    for k, smoothing in enumerate((0.0, 0.2)):
        head = build_head((5, 7, 6, 3), 0.0)
        head.load_state_dict(initial_state((5, 7, 6, 3), k + 1))
        first, second, third = head[0], head[3], head[6]
        h = first(x[k]).relu() * keep[0][k]
        h = second(h).relu() * keep[1][k]
        logits = third(h)
        expected = nn.functional.cross_entropy(logits, y[k], label_smoothing=smoothing)
        expected.backward()
        assert loss[k].item() == pytest.approx(expected.item(), abs=1e-6)
        assert right[k].item() == (logits.argmax(1) == y[k]).sum().item()
        for layer, module in enumerate((first, second, third)):
            assert torch.allclose(stack.weight_grads[layer][k], module.weight.grad, atol=1e-6)
            assert torch.allclose(stack.bias_grads[layer][k], module.bias.grad, atol=1e-6)


def test_the_best_epoch_is_the_best_on_val_and_its_weights_are_kept() -> None:
    features = toy()
    (head,) = train(features, [4], epochs=25, learning_rate=0.03)
    scores = [(r.val_top1, -r.val_loss) for r in head.curve]
    assert head.best_epoch == scores.index(max(scores))
    assert 0 < head.best_epoch < 24  # else the check below would not tell best from last
    module = build_head(DIMS, 0.0)
    module.load_state_dict(head.state)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(features.splits["val"].plain), features.splits["val"].y)
    assert loss.item() == pytest.approx(head.curve[head.best_epoch].val_loss, abs=1e-6)


def test_the_selection_metric_decides() -> None:
    (by_loss,) = train(toy(), [4], epochs=25, selection_metric="val_loss")
    losses = [r.val_loss for r in by_loss.curve]
    assert by_loss.best_epoch == losses.index(min(losses))


def test_test_images_play_no_part_in_training() -> None:
    features = toy()
    garbage = SplitFeatures(torch.full((5, 1, DIMS[0]), math.nan), torch.zeros(5, dtype=torch.int64))
    other = Features({**features.splits, "test": garbage}, 4)
    assert torch.equal(curve(train(features, [1])[0]), curve(train(other, [1])[0]))


def test_a_head_whose_loss_is_not_finite_stops_and_is_reported() -> None:
    (head,) = train(toy(scale=1e18), [1], optimizer="sgd")
    assert head.diverged is not None
    assert len(head.curve) == head.diverged + 1


def test_patience_stops_a_head_that_no_longer_improves() -> None:
    (head,) = train(toy(), [4], epochs=200, patience=5)
    assert len(head.curve) == head.best_epoch + 6 < 200


def test_schedulers_change_the_rate() -> None:
    rates = {
        s: [r.learning_rate for r in train(toy(), [1], epochs=8, scheduler=s)[0].curve]
        for s in ("none", "cosine", "step")
    }
    assert rates["none"] == [0.003] * 8
    assert rates["cosine"][0] == 0.003
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][-1] < 0.0002
    assert rates["step"] == pytest.approx([0.003] * 4 + [0.0003] * 2 + [0.00003] * 2)


def test_views_are_drawn_anew_for_each_epoch_and_image() -> None:
    draws = _Draws(1, torch.device("cpu"))
    drawn = []
    for epoch in range(40):
        draws.begin(epoch)
        draws.order(100)
        drawn.append(draws.views(100, 4))
    counts = torch.stack(drawn).flatten().bincount(minlength=4)
    assert counts.min() > 800  # of 4,000, each view about a quarter
    assert not torch.equal(drawn[0], drawn[1])


def test_only_the_views_of_training_images_are_used() -> None:
    # Views 1 and 2 of every training image are view 0: the curve must be that of a set without views.
    plain = toy()
    x = plain.splits["train"].x
    tripled = Features(
        {**plain.splits, "train": SplitFeatures(x.expand(-1, 3, -1).contiguous(), plain.splits["train"].y)}, 4
    )
    assert torch.allclose(curve(train(plain, [1])[0]), curve(train(tripled, [1])[0]), atol=1e-5)


def test_one_full_batch_trains() -> None:
    (head,) = train(toy(), [1], batch_size=10_000, epochs=30)
    assert head.curve[-1].train_loss < head.curve[0].train_loss
