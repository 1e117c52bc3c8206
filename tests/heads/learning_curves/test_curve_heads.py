"""The heads of a curve: each is the head it would be alone, the last of them the run's; Gaussian classes as truth."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from scipy.stats import norm

from featcache.options import TrainingOptions
from featcache.places import FilePlace
from featcache.records import ImageRecord
from heads.learning_curves.curve_heads import (
    EPOCH_IMAGES,
    CurveHead,
    curve_features,
    curve_heads,
    fold_of,
    passes,
)
from heads.learning_curves.flipped_labels import flip_labels
from heads.learning_curves.training_subsets import Size, curve_sizes, nested_subsets
from heads.training import Features, Fold, HeadSpec, TrainedHead, train_heads

WIDTH, APART = 8, 2.0  # features, and the distance of two classes' centres in standard deviations
BAYES = float(norm.cdf(APART / 2))  # what the best of all classifiers gets right
DIMS = (WIDTH, 16, 2)
NOISE = (0.1, 0.2)


def gaussian(train: int, val: int, views: int = 1) -> Features:
    """Two classes of equal spread: the best accuracy that there is, is known."""
    rng = np.random.default_rng(7)
    count = train + val
    labels = np.arange(count) % 2
    of_each = np.where(np.arange(count) < train, views, 1)
    centre = np.zeros(WIDTH)
    centre[0] = APART
    x = labels.repeat(of_each)[:, None] * centre + rng.standard_normal((int(of_each.sum()), WIDTH))
    every = np.arange(count)
    return Features(
        rows=ArrayRows(x.astype(np.float32), np.cumsum(of_each) - of_each, of_each),
        labels=labels,
        views=of_each,
        folds=(Fold(every[:train], every[train:]),),
        classes=2,
        device=torch.device("cpu"),
    )


def drawn(features: Features, draws: int) -> tuple[tuple[Size, ...], list[list[np.ndarray]]]:
    labels = features.labels[features.folds[0].train]
    records = [ImageRecord(FilePlace(Path(f"{i}")), f"{i}", f"{i:064x}", int(y), "train") for i, y in enumerate(labels)]
    sizes = curve_sizes(labels, 2)
    return sizes, [nested_subsets(records, sizes, draw) for draw in range(draws)]


def spec(head: CurveHead, fold: int, epochs: int = 5, **options: object) -> HeadSpec:
    training = TrainingOptions.model_validate({"epochs": epochs, "learning_rate": 0.01, **options})
    return HeadSpec(DIMS, training, head.seed, 0.3, fold)


def same(one: TrainedHead, other: TrainedHead) -> bool:
    return one.best_epoch == other.best_epoch and all(
        torch.allclose(a, b, atol=1e-5) for a, b in zip(one.state.values(), other.state.values(), strict=True)
    )


@pytest.mark.parametrize("views", [1, 3])
def test_a_head_of_the_stack_is_the_head_that_its_own_images_and_labels_give_alone(views: int) -> None:
    features = gaussian(96, 40, views)
    sizes, draws = drawn(features, 2)
    pool = curve_features(features, draws, NOISE)
    heads = curve_heads(TrainingOptions(seeds=2), len(sizes), 2, NOISE)
    folds = [fold_of(head, len(sizes), 2, NOISE) for head in heads]
    trained = train_heads(pool, [spec(h, f) for h, f in zip(heads, folds, strict=True)], batch_size=16)
    for head, one in list(zip(heads, trained, strict=True))[::5]:
        labels = features.labels.copy()
        labels[:96] = flip_labels(labels[:96], head.noise, head.draw)
        own = Fold(passes(draws[head.draw][head.size], 96), features.folds[0].val)
        (alone,) = train_heads(replace(features, labels=labels, folds=(own,)), [spec(head, 0)], batch_size=16)
        assert same(one, alone)


def test_with_all_images_and_no_wrong_label_it_is_the_run_itself() -> None:
    features = gaussian(160, 40)
    sizes, draws = drawn(features, 2)
    pool = curve_features(features, draws, NOISE)
    last = CurveHead(len(sizes) - 1, 0, seed=42)
    (one,) = train_heads(pool, [spec(last, fold_of(last, len(sizes), 2, NOISE))], batch_size=16)
    (run,) = train_heads(features, [spec(last, 0)], batch_size=16)
    assert all(torch.equal(a, b) for a, b in zip(one.state.values(), run.state.values(), strict=True))


def test_val_keeps_its_labels_and_wrong_ones_are_in_training_alone() -> None:
    features = gaussian(200, 40)
    sizes, draws = drawn(features, 2)
    pool = curve_features(features, draws, NOISE)
    for head in curve_heads(TrainingOptions(), len(sizes), 2, NOISE):
        fold = pool.folds[fold_of(head, len(sizes), 2, NOISE)]
        assert fold.val.tolist() == features.folds[0].val.tolist()
        image = pool.rows.image[fold.train]  # type: ignore[attr-defined]
        assert (pool.labels[fold.train] != features.labels[image]).mean() == pytest.approx(head.noise)


def test_every_head_has_a_seed_of_its_own_where_images_do_not_differ() -> None:
    for seeds in (3, (5, 9)):
        heads = curve_heads(TrainingOptions.model_validate({"seeds": seeds}), 4, 3, ())
        full = [head.seed for head in heads if head.size == 3]
        assert len(set(full)) == len(full) == 3 * len(TrainingOptions.model_validate({"seeds": seeds}).seed_list)
        assert tuple(full[: len(full) // 3]) == TrainingOptions.model_validate({"seeds": seeds}).seed_list


def test_few_images_are_gone_over_several_times_an_epoch_each_as_often() -> None:
    subset = np.array([3, 5, 8])
    epoch = passes(subset, 1000)
    assert abs(len(epoch) - EPOCH_IMAGES) <= 2
    assert len(set(np.bincount(epoch)[subset])) == 1
    assert passes(np.arange(1000), 1000).tolist() == list(range(1000))
    assert len(passes(np.arange(30), 40)) == 30


def test_gaussian_classes_are_told_better_with_more_images_up_to_what_the_best_classifier_gets() -> None:
    features = gaussian(800, 1500)
    sizes, draws = drawn(features, 3)
    pool = curve_features(features, draws, (0.2,))
    heads = curve_heads(TrainingOptions(), len(sizes), 3, (0.2,))
    trained = train_heads(pool, [spec(h, fold_of(h, len(sizes), 3, (0.2,)), 12) for h in heads], batch_size=32)
    found: dict[tuple[int, float], list[float]] = {}
    for head, one in zip(heads, trained, strict=True):
        found.setdefault(head.key, []).append(one.best.val_top1)
    curve = [float(np.mean(found[size, 0.0])) for size in range(len(sizes))]
    assert curve[0] < BAYES - 0.05
    assert curve[-1] == pytest.approx(BAYES, abs=0.02)
    assert all(later > earlier - 0.02 for earlier, later in pairwise(curve))
    assert np.mean(found[len(sizes) - 1, 0.2]) < curve[-1] + 0.005
