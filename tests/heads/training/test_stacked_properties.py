"""Any mix of options in one call: each head is its solo head, and the plain loop's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from test_normalisation import by_hand
from test_stacked_training import Plain, curve, losses, plain_loop, toy

from featcache.options.training_options import TrainingOptions
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads
from heads.training.trained_head import TrainedHead

TOLERANCE = 5e-4  # rounding, which six epochs of Adam at 0.02 make a thousand times larger; a wrong draw makes 1e-2
# A failure is told as it was found: to shrink one takes minutes.
QUICK: dict[str, Any] = {"phases": [Phase.generate], "suppress_health_check": [HealthCheck.too_slow]}
TIE = 1e-5  # two epochs that are nearer than this may change places by rounding

Mix = tuple[dict[str, Any], list[HeadSpec], int]

HIDDEN = st.sampled_from([(), (8,), (24,), (3, 7), (16, 5)])
METRICS = ["val_top1", "val_loss", "val_balanced_accuracy", "val_macro_f1", "val_auroc"]
KINDS = [(0, 1, 2, 3), (0, 0, 0, 1, 1, 2, 0, 3)]  # classes of equal size, and of unequal
NORMALISATIONS = ["none", "none", "standard", "scale", "l2", "layernorm"]
RATES = {"adamw": (1e-4, 1e-3, 0.02), "adam": (1e-4, 1e-3, 0.02), "sgd": (1e-3, 0.02, 0.1)}


@st.composite
def trainings(draw: st.DrawFn) -> TrainingOptions:
    optimizer = draw(st.sampled_from(sorted(RATES)))
    epochs = draw(st.integers(1, 6))
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "epochs": epochs,
        "learning_rate": draw(st.sampled_from(RATES[optimizer])),
        "weight_decay": draw(st.sampled_from([0.0, 0.01, 0.3])),
        "momentum": draw(st.sampled_from([0.0, 0.5, 0.9])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.4])),
        "scheduler": draw(st.sampled_from(["none", "cosine", "step"])),
        "warmup_epochs": draw(st.integers(0, epochs - 1)),
        "patience": draw(st.sampled_from([None, 1, 2])),
        "selection_metric": draw(st.sampled_from(METRICS)),
        "class_weights": draw(st.sampled_from([None, None, "balanced", {"0": 0.5, "3": 7.0}])),
        "balanced_draws": draw(st.booleans()),
    }
    return TrainingOptions.model_validate(options)


@st.composite
def mixes(draw: st.DrawFn, limited: bool = False) -> Mix:
    """What `toy` makes features of, heads and a batch size: nothing that is long to print."""
    folds, views = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    train, val = (draw(st.integers(40, 70)), draw(st.integers(8, 30))) if not limited else (150, 42)
    made_of: dict[str, Any] = {"train": train, "val": val, "views": views, "folds": folds}
    made_of["kinds"] = draw(st.sampled_from(KINDS))
    if limited:
        made_of["limit_bytes"] = toy(**made_of).nbytes / 2
    widths = draw(st.lists(HIDDEN, min_size=1, max_size=2, unique=True))  # few: heads of equal widths share a group
    heads = draw(
        st.lists(
            st.builds(
                HeadSpec,
                dims=st.sampled_from([(12, *hidden, 4) for hidden in widths]),
                training=trainings(),
                seed=st.integers(0, 3),
                dropout=st.sampled_from([0.0, 0.3, 0.5]),
                fold=st.integers(0, folds - 1),
                normalise=st.sampled_from(NORMALISATIONS),
            ),
            min_size=2,
            max_size=6,
        )
    )
    return made_of, heads, draw(st.sampled_from([7, 16, 24, 200]))


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check(made_of: dict[str, Any], heads: Sequence[HeadSpec], batch_size: int) -> None:
    features = toy(**made_of)
    assert features.block_count == (2 if "limit_bytes" in made_of else 1)
    stacked = train_heads(features, heads, batch_size=batch_size)
    for head, trained in zip(heads, stacked, strict=True):
        (solo,) = train_heads(features, [head], batch_size=batch_size)
        plain = plain_loop(given_to(features, head), head, batch_size, weights=weights_of(features, head))
        compare(trained, plain, head)
        compare(solo, plain, head)
        epochs = min(len(trained.curve), len(solo.curve))
        assert torch.allclose(curve(trained)[:epochs, [0, 2]], curve(solo)[:epochs, [0, 2]], atol=TOLERANCE), head


def given_to(features: Features, head: HeadSpec) -> Features:
    """Features as the head is given them."""
    return features if head.normalise == "none" else by_hand(features, head.normalise, head.fold)


def weights_of(features: Features, head: HeadSpec) -> torch.Tensor | None:
    """What each class counts, as scikit-learn and the options have it."""
    asked = head.training.class_weights
    if asked is None:
        return None
    labels = features.labels[features.folds[head.fold].train]
    if asked == "balanced":
        there = np.unique(labels)
        known = dict(zip(there.tolist(), compute_class_weight("balanced", classes=there, y=labels), strict=True))
    else:
        known = {int(name): weight for name, weight in asked.items()}
    return torch.tensor([known.get(c, 1.0) for c in range(features.classes)], dtype=torch.float32)


def compare(trained: TrainedHead, plain: Plain, head: HeadSpec) -> None:
    expected, found = torch.tensor(plain.losses), losses(trained)
    if plain.margin > TIE:
        assert trained.best_epoch == plain.best_epoch, head
        assert len(found) == len(expected), head
    epochs = min(len(found), len(expected))
    assert torch.allclose(found[:epochs], expected[:epochs], rtol=0, atol=TOLERANCE), head


def some(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, **QUICK)


def check_with_two_threads(mix: Mix) -> None:
    with threads(2):
        check(*mix)


@some(10)
@given(mix=mixes())
def test_any_mix_of_options_gives_each_head_its_own_result(mix: Mix) -> None:
    check(*mix)


@some(3)  # where all cores are busy, each takes seconds
@given(mix=mixes())
def test_any_mix_of_options_does_so_with_two_threads_too(mix: Mix) -> None:
    check_with_two_threads(mix)


@some(4)
@given(mix=mixes(limited=True))
def test_any_mix_of_options_does_so_in_blocks_too(mix: Mix) -> None:
    check(*mix)


@pytest.mark.slow
@some(30)
@given(mix=mixes())
def test_many_mixes_of_options_give_each_head_its_own_result(mix: Mix) -> None:
    check(*mix)


@pytest.mark.slow
@some(8)
@given(mix=mixes())
def test_many_mixes_of_options_do_so_with_two_threads_too(mix: Mix) -> None:
    check_with_two_threads(mix)


@pytest.mark.slow
@some(13)
@given(mix=mixes(limited=True))
def test_many_mixes_of_options_do_so_in_blocks_too(mix: Mix) -> None:
    check(*mix)
