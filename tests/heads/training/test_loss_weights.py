"""Weights of images: their losses times them, as a plain loop has it and as images that stand there twice do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_class_weights import NAMED, NAMED_WEIGHTS, rare
from test_features import pool
from test_stacked_training import assert_same, curve, head, losses, plain_loop, toy, train
from torch import Tensor

from featcache.errors import DataError
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec

SORTS: list[dict[str, object]] = [
    {},
    {"class_weights": "balanced"},
    {"class_weights": NAMED, "label_smoothing": 0.1},
    {"balanced_draws": True},
    {"balanced_draws": True, "class_weights": NAMED},
]


def weighted(features: Features) -> Features:
    """Every image with a weight of its own, those of the first class heavier."""
    drawn = np.random.default_rng(0).uniform(0.1, 3.0, len(features.labels))
    return replace(features, weights=drawn * (1 + (features.labels == 0)))


def by_hand(features: Features, one: HeadSpec) -> tuple[Tensor | None, Tensor]:
    """What classes and images count, with loops and no look at the code: an image of weight 2 is two images."""
    assert features.weights is not None
    labels, weights, fold = features.labels, features.weights, features.folds[one.fold].train
    mass = [sum(weights[i] for i in fold if labels[i] == c) for c in range(4)]
    of_classes = {"balanced": [sum(mass) / (4 * m) for m in mass]}.get(str(one.training.class_weights))
    if one.training.class_weights == NAMED:
        of_classes = NAMED_WEIGHTS.tolist()
    c = of_classes or [1.0] * 4
    counts = np.zeros(len(labels))
    together = [[i for i in fold if labels[i] == k] for k in range(4)] if one.training.balanced_draws else [fold]
    for own in together:
        mean = sum(c[labels[i]] * weights[i] for i in own) / sum(c[labels[i]] for i in own)
        counts[own] = weights[own] / mean
    classes = None if of_classes is None else torch.tensor(of_classes, dtype=torch.float32)
    return classes, torch.from_numpy(counts).float()


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_stack_of_all_sorts_is_each_head_alone_and_the_plain_loop(blocks: int) -> None:
    features = weighted(rare(folds=3, blocks=blocks))
    heads = [head(1, fold=fold, epochs=4, **sort) for sort in SORTS for fold in range(2)]  # type: ignore[arg-type]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert_same(trained, *train(features, one))
        weights, counts = by_hand(features, one)
        expected = plain_loop(features, one, weights=weights, counts=counts)
        assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=1e-4)
        assert not torch.allclose(losses(trained), torch.tensor(plain_loop(features, one).losses), atol=1e-3)


@pytest.mark.parametrize("sort", SORTS[:3])
def test_an_image_that_weighs_two_is_an_image_that_stands_there_twice(sort: dict[str, object]) -> None:
    """In a full batch; with plain descent, which notices the scale of a gradient."""
    features = rare()
    (fold,) = features.folds
    twice = fold.train[::3]
    weights = np.ones(len(features.labels))
    weights[twice] = 2
    repeated = replace(features, folds=(Fold(np.append(fold.train, twice), fold.val),))
    one = head(5, dropout=0.0, optimizer="sgd", momentum=0.0, learning_rate=0.3, weight_decay=0.0, **sort)  # type: ignore[arg-type]
    (found,) = train(replace(features, weights=weights), one, batch_size=1000)
    (expected,) = train(repeated, one, batch_size=1000)
    (plain,) = train(features, one, batch_size=1000)
    assert torch.allclose(losses(found), losses(expected), atol=1e-5)
    assert not torch.allclose(losses(found), losses(plain), atol=1e-4)
    assert all(torch.allclose(found.state[n], expected.state[n], atol=1e-5) for n in found.state)


def test_what_is_common_to_all_weights_changes_nothing() -> None:
    features = weighted(toy())
    assert features.weights is not None
    (one,) = train(features, head(3))
    (other,) = train(replace(features, weights=4 * features.weights), head(3))
    assert torch.equal(curve(one), curve(other))


def test_images_that_weigh_nothing_train_nothing_and_judge_all_the_same() -> None:
    weights = [1.0] * 24
    weights[3] = weights[20] = 0  # in train, and in val
    (fold,) = (features := pool([0, 1, 2] * 8, folds=None, weights=weights)).folds
    assert fold.train.tolist() == [i for i in range(18) if i != 3]
    assert fold.val.tolist() == list(range(18, 24))
    assert features.weights is None  # the others count the same: they train as if it were not there
    pooled = pool([0, 1, 2] * 8, folds=3, weights=weights)
    assert sorted(np.concatenate([f.val for f in pooled.folds])) == list(range(24))
    assert not {3, 20} & set(np.concatenate([f.train for f in pooled.folds]).tolist())


def test_weights_are_those_of_the_images_that_train() -> None:
    weights = [float(i % 4 + 1) for i in range(18)] + [9.0] * 6
    features = pool([0, 1, 2] * 8, folds=None, weights=weights)
    assert features.weights is not None and features.weights.shape == (24,)
    assert (features.weights[:18] / features.weights[0]).tolist() == weights[:18]
    assert pool([0, 1, 2] * 8, folds=None, weights=[2.0] * 18 + [9.0] * 6).weights is None
    pooled = pool([0, 1, 2] * 8, folds=3, weights=weights).weights
    assert pooled is not None and (pooled / pooled[0]).tolist() == weights


def test_a_fold_that_nothing_could_be_trained_on_is_refused() -> None:
    contents = [f"content {i // 8}" for i in range(24)]  # relatives: whole folds
    with pytest.raises(DataError, match="weight above 0 are in one fold"):
        pool([0, 1, 2] * 8, contents, folds=3, weights=[float(i < 8) for i in range(24)])
