"""Classes of unequal size: weights in the loss, and draws in equal numbers, as a plain loop has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from test_stacked_training import BATCH, assert_same, curve, head, losses, plain_loop, toy, train
from torch import Tensor

from featcache.errors import OptionsError
from featcache.options.loading import parse_options
from featcache.options.training_options import TrainingOptions
from heads.training.class_weights import class_weights
from heads.training.features import Features
from heads.training.random_draws import Draws

NAMES = ("ant", "bee", "cat", "dog")
NAMED = {"ant": 0.5, "dog": 7.0}
NAMED_WEIGHTS = torch.tensor([0.5, 1.0, 1.0, 7.0])


def rare(folds: int = 1, blocks: int = 1) -> Features:
    """The toy's clusters with a fifth of the images of the last two classes."""
    features = toy(train=230, val=90 if folds == 1 else 0, folds=folds)
    kept = (features.labels < 2) | (np.arange(len(features.labels)) % 5 == 0)
    cut = tuple(replace(f, train=f.train[kept[f.train]], val=f.val[kept[f.val]]) for f in features.folds)
    return replace(features, folds=cut, class_names=NAMES, limit_bytes=features.nbytes / blocks)


def balanced(features: Features, fold: int = 0) -> Tensor:
    labels = features.labels[features.folds[fold].train]
    return torch.tensor(compute_class_weight("balanced", classes=np.arange(4), y=labels), dtype=torch.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dims", [(12, 4), (12, 24, 4)])
def test_weighted_classes_are_those_of_torchs_cross_entropy(dims: tuple[int, ...], smoothing: float) -> None:
    features = rare()
    for asked, weights in (("balanced", balanced(features)), (NAMED, NAMED_WEIGHTS)):
        one = head(7, dims, class_weights=asked, label_smoothing=smoothing)
        (trained,) = train(features, one)
        expected = plain_loop(features, one, weights=weights)
        assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=1e-4)
        unweighted = plain_loop(features, one)
        assert not torch.allclose(losses(trained), torch.tensor(unweighted.losses), atol=1e-2)


@pytest.mark.parametrize("blocks", [1, 3])
def test_balanced_draws_follow_the_plain_loop(blocks: int) -> None:
    features = rare(blocks=blocks)
    one = head(7, balanced_draws=True, class_weights=NAMED)
    (trained,) = train(features, one)
    assert torch.allclose(
        losses(trained), torch.tensor(plain_loop(features, one, weights=NAMED_WEIGHTS).losses), atol=1e-4
    )


def test_a_stack_of_all_sorts_is_each_head_alone() -> None:
    features = rare(folds=3)
    sorts: list[dict[str, object]] = [
        {},
        {"class_weights": "balanced"},
        {"class_weights": NAMED, "label_smoothing": 0.1},
        {"balanced_draws": True},
    ]
    heads = [head(1, fold=fold, epochs=4, **sort) for sort in sorts for fold in range(2)]  # type: ignore[arg-type]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert_same(trained, *train(features, one))
        asked = one.training.class_weights
        weights = None if asked is None else NAMED_WEIGHTS if asked == NAMED else balanced(features, one.fold)
        expected = plain_loop(features, one, weights=weights)
        assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=1e-4)


def test_weighted_neighbours_change_no_bit_of_the_others() -> None:
    features = rare()
    others = [head(k, class_weights=NAMED) for k in (2, 3)]
    alone, among = train(features, head(1), head(4))[0], train(features, head(1), *others)[0]
    assert torch.equal(curve(alone), curve(among))


def test_balanced_draws_are_of_equal_numbers_with_replacement() -> None:
    labels = np.array([0] * 50 + [1] * 7 + [3] * 1)  # no image of class 2
    seen = np.zeros(len(labels))
    for epoch in range(200):
        order = Draws(5, epoch).balanced(labels)
        assert len(order) == len(labels)
        counts = np.bincount(labels[order], minlength=4)
        assert counts[2] == 0
        assert set(counts[[0, 1, 3]]) <= {19, 20}
        assert np.array_equal(order, Draws(5, epoch).balanced(labels))
        seen += np.bincount(order, minlength=len(labels))
    assert seen[labels == 1] == pytest.approx(200 * 58 / 3 / 7, rel=0.15)  # each image of a class alike
    assert seen[labels == 0] == pytest.approx(200 * 58 / 3 / 50, rel=0.5)
    assert seen.sum() == 200 * 58
    assert len(np.unique(Draws(5, 0).balanced(labels)[:10])) > 5  # and shuffled


def test_no_class_weighs_nothing_and_none_is_invented() -> None:
    labels = np.array([0, 0, 1])
    assert class_weights(TrainingOptions(), NAMES, labels) is None
    found = class_weights(TrainingOptions(class_weights="balanced"), NAMES, labels)
    assert found is not None
    assert found.tolist() == [0.75, 1.5, 1.0, 1.0]  # two classes are not there: nobody meets their weights
    with pytest.raises(OptionsError, match=r"class_weights: no class is called 'cow'.*ant, bee, cat, dog"):
        class_weights(TrainingOptions(class_weights={"cow": 2.0}), NAMES, labels)
    with pytest.raises(OptionsError, match=r"Did you mean 'bee'\?"):
        class_weights(TrainingOptions(class_weights={"beee": 2.0}), NAMES, labels)


@pytest.mark.parametrize(
    ("value", "said"),
    [({"ant": 0.0}, "greater than"), ({"ant": -1.0}, "greater than"), ("even", "balanced"), ({}, "at least 1")],
)
def test_weights_that_are_none_are_refused(value: object, said: str) -> None:
    document = {
        "experiment_name": "x",
        "model": {"backbone": "resnet18", "classifier_dims": ["auto", 4]},
        "data": {"path": "."},
        "training": {"class_weights": value},
    }
    with pytest.raises(OptionsError, match=rf"class_weights.*{said}"):
        parse_options(document)


def test_finished_runs_keep_their_digest() -> None:
    document = {
        "experiment_name": "x",
        "model": {"backbone": "resnet18", "classifier_dims": ["auto", 4]},
        "data": {"path": "."},
    }
    plain = parse_options(document)
    said = parse_options({**document, "training": {"class_weights": None, "balanced_draws": False}})
    other = parse_options({**document, "training": {"balanced_draws": True}})
    assert plain.short == said.short != other.short
    assert "balanced_draws" in plain.as_dict()["training"]


def test_batches_count_by_what_they_weigh() -> None:
    """A batch size that leaves a last batch of one: its mean is its own loss, whatever it weighs."""
    features = rare()
    count = len(features.folds[0].train)
    size = next(s for s in range(BATCH, count) if count % s == 1)
    one = head(3, class_weights=NAMED)
    (trained,) = train(features, one, batch_size=size)
    expected = plain_loop(features, one, size, weights=NAMED_WEIGHTS)
    assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=1e-4)
