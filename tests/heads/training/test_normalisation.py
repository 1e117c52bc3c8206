"""`head.normalise`: what is fitted, on which images, and that a head of it is kept as one of plain features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from numpy.typing import NDArray
from test_stacked_training import DIMS, assert_same, curve, head, losses, plain_loop, toy, train
from torch import Tensor, nn

from featcache.backbones import build_head
from heads.training.features import Features, Fold
from heads.training.head_spec import HeadSpec
from heads.training.normalisation import fit_features

EVERY = ("standard", "l2", "layernorm", "scale")
FITTED = ("standard", "scale")


def spread_out(**how: Any) -> Features:
    """`toy` with features of all scales, far from zero, one of them dead and one constant."""
    features = toy(**how)
    width = features.rows.width
    values = features.rows.values * np.geomspace(1e-4, 1e3, width) + np.linspace(-3, 3, width)
    values[:, 2], values[:, 5] = 0.0, 7.3
    return replace(features, rows=replace(features.rows, values=values.astype(np.float32)))


def training_rows(features: Features, fold: int) -> NDArray[np.float64]:
    images = features.folds[fold].train
    rows = [features.rows.first[i] + v for i in images for v in range(features.views[i])]
    return features.rows.values[rows].astype(np.float64)


def by_hand(features: Features, normalise: str, fold: int = 0) -> Features:
    """Features that are normalised already."""
    x, seen = features.rows.values.astype(np.float64), training_rows(features, fold)
    if normalise == "standard":
        spread = seen.std(axis=0)
        varies = spread > 0
        spread[~varies] = np.sqrt((seen[:, varies].std(axis=0) ** 2).mean())
        x = (x - seen.mean(axis=0)) / spread
    elif normalise == "scale":
        x = x / np.sqrt((seen**2).mean())
    elif normalise == "l2":
        x = np.sqrt(x.shape[1]) * x / np.linalg.norm(x, axis=1, keepdims=True)
    else:
        x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    return replace(features, rows=replace(features.rows, values=x.astype(np.float32)))


def normalised(one: HeadSpec, normalise: Any) -> HeadSpec:
    return replace(one, normalise=normalise)


def module_of(state: dict[str, Tensor], normalise: Any, dims: tuple[int, ...] = DIMS) -> nn.Sequential:
    module = build_head(dims, 0.0, normalise).eval()
    module.load_state_dict(state)
    return module


def val_loss(state: dict[str, Tensor], normalise: Any, features: Features, dims: tuple[int, ...] = DIMS) -> float:
    """Of a head that is kept, on features as they are stored."""
    val = features.folds[0].val
    x, y = torch.from_numpy(features.rows.values[features.rows.first[val]]), torch.from_numpy(features.labels[val])
    with torch.no_grad():
        return float(nn.functional.cross_entropy(module_of(state, normalise, dims)(x), y))


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("normalise", EVERY)
def test_a_head_follows_the_plain_loop_on_normalised_features(normalise: str, views: int) -> None:
    features, one = spread_out(views=views), head(7)
    (trained,) = train(features, normalised(one, normalise))
    expected = torch.tensor(plain_loop(by_hand(features, normalise), one).losses)
    assert torch.allclose(losses(trained), expected, atol=2e-4)
    assert not torch.allclose(losses(train(features, one)[0]), expected, atol=1e-2)  # it does make a difference


@pytest.mark.parametrize("normalise", EVERY)
def test_the_head_that_is_kept_takes_features_as_they_are_stored(normalise: str) -> None:
    features = spread_out()
    (trained,) = train(features, normalised(head(7, epochs=12), normalise))
    assert trained.normalise == normalise
    assert set(trained.state) == set(build_head(DIMS, 0.0).state_dict())
    assert val_loss(trained.state, normalise, features) == pytest.approx(trained.best.val_loss, rel=1e-3)
    if normalise in FITTED:  # a plain head, of nothing but weights
        assert val_loss(trained.state, "none", features) == pytest.approx(trained.best.val_loss, rel=1e-3)
        assert len(module_of(trained.state, normalise)) == len(build_head(DIMS, 0.0))


def test_a_head_of_one_layer_is_folded_too() -> None:
    features = spread_out()
    (trained,) = train(features, normalised(head(7, (12, 4)), "standard"))
    assert val_loss(trained.state, "none", features, (12, 4)) == pytest.approx(trained.best.val_loss, rel=1e-3)


def test_heads_of_every_value_stand_in_one_call_as_alone() -> None:
    features = spread_out(train=66, val=0, views=2, folds=2)
    heads = [
        normalised(head(seed, fold=fold, epochs=3), normalise)
        for seed in (1, 2)
        for normalise in ("none", *EVERY)
        for fold in range(2)
    ]
    for one, trained in zip(heads, train(features, *heads), strict=True):
        assert (trained.seed, trained.fold, trained.normalise) == (one.seed, one.fold, one.normalise)
        assert_same_but_for_scale(trained, train(features, one)[0])
        if one.normalise != "none":
            plain = plain_loop(by_hand(features, one.normalise, one.fold), replace(one, normalise="none"))
            assert torch.allclose(losses(trained), torch.tensor(plain.losses), atol=2e-4)


def assert_same_but_for_scale(a: Any, b: Any) -> None:
    """Folded weights are as large as their feature is small: relative to each other's size they are the same."""
    assert torch.allclose(curve(a), curve(b), atol=1e-4)
    for name in a.state:
        size = a.state[name].abs().amax(dim=0)
        assert ((a.state[name] - b.state[name]).abs() <= 1e-3 * size + 1e-4).all(), name


@pytest.mark.parametrize("normalise", FITTED)
@pytest.mark.parametrize("views", [1, 3])
def test_it_is_fitted_on_the_training_images_of_the_fold_alone(normalise: Any, views: int) -> None:
    features = spread_out(train=66, val=0, views=views, folds=3)
    for fold in range(3):
        fit = fit_features(features, normalise, fold)
        assert fit is not None
        seen = training_rows(features, fold)
        varies = seen.std(axis=0) > 0
        if normalise == "standard":
            assert np.allclose(fit.mean, seen.mean(axis=0), rtol=1e-12)
            assert np.allclose(fit.spread[varies], seen.std(axis=0)[varies], rtol=1e-9)
        else:
            assert not fit.mean.any()
            assert np.allclose(fit.spread, np.sqrt((seen**2).mean()), rtol=1e-12)
    # And on nothing else: validation images may be anything.
    changed = features.rows.values.copy()
    rows = np.concatenate([features.rows.first[features.folds[0].val] + v for v in range(views)])
    changed[rows] = 1e4
    other = fit_features(replace(features, rows=replace(features.rows, values=changed)), normalise, 0)
    own = fit_features(features, normalise, 0)
    assert own is not None and other is not None
    assert np.array_equal(own.mean, other.mean) and np.array_equal(own.spread, other.spread)


def test_features_in_blocks_are_normalised_alike() -> None:
    how: dict[str, Any] = {"train": 150, "val": 42, "views": 2}
    limit = toy(**how).nbytes / 2
    whole, limited = spread_out(**how), spread_out(**how, limit_bytes=limit)
    assert limited.block_count > 1
    for normalise in EVERY:
        one = normalised(head(3), normalise)
        (trained,) = train(limited, one)
        expected = plain_loop(by_hand(limited, normalise), replace(one, normalise="none"))
        assert torch.allclose(losses(trained), torch.tensor(expected.losses), atol=2e-4)
    for normalise in FITTED:
        a, b = fit_features(whole, normalise, 0), fit_features(limited, normalise, 0)
        assert a is not None and b is not None
        assert np.allclose(a.mean, b.mean, rtol=1e-12) and np.allclose(a.spread, b.spread, rtol=1e-12)


def test_the_scale_of_features_no_longer_decides() -> None:
    """The same features a thousand times smaller: trained too little as they are, and the same when normalised."""
    large, small = toy(), toy(scaled=1e-3)
    for normalise in ("none", *EVERY):
        one = normalised(head(4, epochs=8), normalise)
        a, b = losses(train(large, one)[0]), losses(train(small, one)[0])
        assert torch.allclose(a, b, atol=1e-3) == (normalise != "none"), normalise


def constant(*columns: float) -> Features:
    """Features that do not vary at all on the training images, and do on the others."""
    x = np.tile(np.array(columns, np.float32), (30, 1))
    x[20:] += np.arange(10, dtype=np.float32)[:, None]
    every = np.arange(30)
    ones = np.ones(30, np.int64)
    folds = (Fold(every[:20], every[20:]),)
    return Features(ArrayRows(x, every, ones), every % 4, ones, folds, 4, torch.device("cpu"))


def test_features_that_do_not_vary_are_no_fault() -> None:
    for features in (constant(0.0, 0.0), constant(3.0, 0.1)):
        for normalise in ("none", *EVERY):
            (trained,) = train(features, normalised(head(1, (2, 6, 4)), normalise))
            assert trained.diverged is None
            assert all(v.isfinite().all() for v in trained.state.values()), normalise
    fit = fit_features(constant(3.0, 0.1), "standard", 0)
    assert fit is not None and fit.spread.tolist() == [1.0, 1.0]


def test_a_feature_that_hardly_varies_is_folded_within_rounding() -> None:
    """Spread a thousandth of the mean: what float32 leaves of (x - mean) / spread in a folded head is 1e-4 of it."""
    features = toy()
    far = replace(features.rows, values=(features.rows.values * 1e-3 + 2.0).astype(np.float32))
    features = replace(features, rows=far)
    (trained,) = train(features, normalised(head(7, epochs=12), "standard"))
    assert trained.best.val_top1 > 0.5  # 4 classes: there is something to lose
    assert val_loss(trained.state, "standard", features) == pytest.approx(trained.best.val_loss, abs=2e-3)


def test_folding_is_undone() -> None:
    features = spread_out()
    fit = fit_features(features, "standard", 0)
    assert fit is not None
    state = build_head(DIMS, 0.0).state_dict()
    again = fit.unfolded(fit.folded(state))
    assert all(torch.allclose(again[n], state[n], atol=1e-3, rtol=1e-4) for n in state)
    x = torch.from_numpy(features.rows.values)
    module = fit.module(torch.device("cpu"))
    plain, folded = module_of(state, "none"), module_of(fit.folded(state), "none")
    with torch.no_grad():
        assert torch.allclose(plain(module(x)), folded(x), atol=2e-3)


def test_none_costs_nothing() -> None:
    """Heads of plain features are given the blocks that are there: no copy, no pass over them."""
    features = toy()
    (trained,) = train(features, head(1))
    assert not features.fits
    assert_same(trained, *train(toy(), head(1)))
