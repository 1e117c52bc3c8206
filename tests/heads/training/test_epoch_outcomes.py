"""Which validation images each head had right after every epoch: the right images, in the right order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from test_stacked_training import BATCH, head, toy

from featcache.backbones import build_head
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads
from heads.training.trained_head import TrainedHead


def trained(features: Features, *heads: HeadSpec, keep_weights: bool = True) -> list[TrainedHead]:
    return train_heads(features, heads, batch_size=BATCH, keep_weights=keep_weights, keep_outcomes=True)


def right_at_best(features: Features, spec: HeadSpec, one: TrainedHead) -> tuple[list[bool], list[bool], torch.Tensor]:
    """By the kept weights, image by image in the order of the fold: top-1, top-3, and the losses."""
    module = build_head(spec.dims, 0.0)
    module.load_state_dict(one.state)
    val = features.folds[spec.fold].val
    with torch.inference_mode():
        logits = module.eval()(torch.from_numpy(features.rows.values[features.rows.first[val]]))
    labels = torch.from_numpy(features.labels[val])
    first = (logits.argsort(dim=1, descending=True)[:, :3] == labels[:, None]).numpy()
    return (
        first[:, 0].tolist(),
        first.any(1).tolist(),
        torch.nn.functional.cross_entropy(logits, labels, reduction="none"),
    )


def assert_holds(features: Features, spec: HeadSpec, one: TrainedHead) -> None:
    assert one.outcomes is not None
    top1, top3 = one.outcomes.right
    assert top1.shape == (len(one.curve), len(features.folds[spec.fold].val))
    assert np.allclose(top1.mean(axis=1), [row.val_top1 for row in one.curve])
    assert np.allclose(top3.mean(axis=1), [row.val_top3 for row in one.curve])
    expected1, expected3, losses = right_at_best(features, spec, one)
    assert 0 < sum(expected1) < len(expected1)  # an order to get wrong
    assert top1[one.best_epoch].tolist() == expected1
    assert top3[one.best_epoch].tolist() == expected3
    if spec.training.selection_metric == "val_loss":
        assert one.outcomes.selected is not None
        assert np.allclose(one.outcomes.selected[one.best_epoch], -losses.numpy(), atol=1e-4)
        assert np.allclose(one.outcomes.selected.mean(axis=1), [-row.val_loss for row in one.curve], atol=1e-4)
    else:
        assert one.outcomes.selected is None


def test_the_images_right_are_those_of_the_kept_weights() -> None:
    features = toy(views=2)
    heads = [head(1), head(2, selection_metric="val_loss"), head(3, selection_metric="val_top3")]
    for spec, one in zip(heads, trained(features, *heads), strict=True):
        assert_holds(features, spec, one)


def test_streamed_blocks_come_in_another_order_and_leave_images_where_they_were() -> None:
    whole = toy(train=230, val=90)
    features = replace(whole, limit_bytes=whole.nbytes / 3)
    assert features.block_count == 3
    heads = [head(1), head(2, selection_metric="val_loss")]
    for spec, one in zip(heads, trained(features, *heads), strict=True):
        assert_holds(features, spec, one)


def test_folds_of_unequal_sizes_answer_for_their_own_images() -> None:
    for limit in (np.inf, 3000):
        features = replace(toy(train=230, val=0, folds=3), limit_bytes=limit)
        assert (features.block_count > 1) == (limit == 3000)
        heads = [head(seed, fold=fold) for seed in (1, 2) for fold in range(3)]
        for spec, one in zip(heads, trained(features, *heads), strict=True):
            assert_holds(features, spec, one)


def test_heads_that_stop_leave_the_others_theirs() -> None:
    features = toy()
    heads = [head(seed, epochs=epochs) for seed, epochs in ((1, 2), (2, 9), (3, 4), (4, 6))]
    for spec, one in zip(heads, trained(features, *heads), strict=True):
        assert_holds(features, spec, one)
        (solo,) = trained(features, spec)
        assert one.outcomes is not None
        assert solo.outcomes is not None
        assert np.array_equal(one.outcomes.right, solo.outcomes.right)


def test_a_sweeps_heads_keep_them_without_weights() -> None:
    features = toy()
    (with_weights,), (without,) = trained(features, head(1)), trained(features, head(1), keep_weights=False)
    assert not without.state
    assert with_weights.outcomes is not None
    assert without.outcomes is not None
    assert np.array_equal(with_weights.outcomes.right, without.outcomes.right)


def test_nobody_who_did_not_ask_has_any() -> None:
    (one,) = train_heads(toy(), [head(1)], batch_size=BATCH)
    assert one.outcomes is None


def test_many_images_and_epochs_take_little_memory() -> None:
    (one,) = trained(toy(train=16, val=50_000), head(1, (12, 4), epochs=2))
    assert one.outcomes is not None
    assert sum(b.nbytes for b in one.outcomes.bits) == 2 * 2 * 6250  # a bit for each image, top-1 and top-3
