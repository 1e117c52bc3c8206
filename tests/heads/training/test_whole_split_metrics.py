"""Metrics of a whole split: scikit-learn's values, and parts of images that spread as resampling says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, recall_score, roc_auc_score
from test_stacked_training import BATCH, assert_same, head, toy
from torch import Tensor

from featcache.backbones import build_head
from heads.training.features import Features
from heads.training.head_spec import HeadSpec
from heads.training.metrics import METRICS
from heads.training.stacked_training import train_heads
from heads.training.trained_head import EpochRow, TrainedHead

WHOLE = ("balanced_accuracy", "macro_f1", "auroc")
Array = NDArray[np.generic]


def sklearns(name: str, logits: Tensor, labels: Tensor) -> float:
    """Over the classes that are present, by scikit-learn."""
    y, predicted = labels.numpy(), logits.argmax(-1).numpy()
    present = np.unique(y)
    if name == "auroc":
        probabilities = logits.double().softmax(-1).numpy()
        return float(np.mean([roc_auc_score(y == c, probabilities[:, c]) for c in present]))
    score: Callable[..., float] = recall_score if name == "balanced_accuracy" else f1_score
    return float(score(y, predicted, labels=present, average="macro", zero_division=0))


def drawn(n: int = 240, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Five classes of unequal sizes, the last one without an image but with predictions; logits with many ties."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.55, 0.25, 0.15, 0.05, 0.0]), n, replacement=True, generator=generator)
    logits = torch.randn(n, 5, generator=generator) + 1.2 * torch.nn.functional.one_hot(labels, 5)
    return (2 * logits).round() / 2 + torch.arange(5) * 1e-3, labels  # no ties within an image, many between images


@pytest.mark.parametrize("name", WHOLE)
def test_they_are_scikit_learns(name: str) -> None:
    both = [drawn(seed=s) for s in (1, 2)]
    logits, labels = (torch.stack([one[i] for one in both]) for i in (0, 1))
    values = METRICS[name].of(logits, labels)
    assert values.shape == labels.shape
    for one, x, y in zip(values, logits, labels, strict=True):
        assert one.mean().item() == pytest.approx(sklearns(name, x, y), abs=1e-12)
        assert torch.allclose(one, METRICS[name].of(x, y))  # a batch of splits is each of them


@pytest.mark.parametrize("name", WHOLE)
def test_the_parts_of_images_spread_as_the_metric_does_in_a_bootstrap(name: str) -> None:
    logits, labels = drawn(400)
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.integers(len(labels), size=(1500, len(labels))))
    resampled = METRICS[name].of(logits[rows], labels[rows]).mean(dim=1)
    parts = METRICS[name].of(logits, labels)
    linear = parts[rows].mean(dim=1)
    assert linear.std().item() == pytest.approx(resampled.std().item(), rel=0.1)
    assert np.corrcoef(linear.numpy(), resampled.numpy())[0, 1] > 0.97  # image by image, not in sum alone


def test_two_classes_have_the_usual_area() -> None:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(2, (60,), generator=generator)
    logits = torch.randn(60, 2, generator=generator)
    area = METRICS["auroc"].of(logits, labels).mean().item()
    assert area == pytest.approx(roc_auc_score(labels.numpy(), (logits[:, 1] - logits[:, 0]).numpy()))


def test_ties_count_half_and_one_class_alone_has_nothing_to_order() -> None:
    assert METRICS["auroc"].of(torch.zeros(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])).tolist() == [0.5] * 6
    assert METRICS["auroc"].of(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)).tolist() == [0.5] * 4
    perfect = 100.0 * torch.eye(3)
    for name in WHOLE:
        assert METRICS[name].of(perfect, torch.arange(3)).tolist() == [1.0] * 3


def test_an_image_with_a_nan_is_wrong_and_comes_last() -> None:
    logits, labels = drawn()
    broken = logits.clone()
    broken[7, 2] = torch.nan
    wrong = logits.clone()  # what a network would have to say to be as wrong: a class that no image is of
    wrong[7] = torch.tensor([-90.0, -90.0, -90.0, -90.0, 90.0])
    for name in WHOLE:
        found, expected = (METRICS[name].of(x, labels) for x in (broken, wrong))
        assert found.isfinite().all()
        assert found.mean().item() == pytest.approx(expected.mean().item())


# Heads that are chosen by them


@pytest.mark.parametrize("name", WHOLE)
def test_the_last_digit_of_a_mean_over_classes_chooses_no_epoch(name: str) -> None:
    """Ties go to top-1 and to the lower loss, and 0.47395833333333337 is the same as 0.4739583333333333."""
    one = TrainedHead(0)
    for epoch, (value, loss) in enumerate([(0.47395833333333337, 1.45), (0.4739583333333333, 1.44), (0.47, 1.0)]):
        one.note(EpochRow(epoch, 1.0, 0.5, loss, 0.25, 0.75, 0.1, 0.0, more={name: value}), f"val_{name}")
    assert one.best_epoch == 1


def rare(folds: int = 1, **options: float) -> Features:
    """The toy's clusters, but few images of the last two."""
    features = toy(train=230, val=90 if folds == 1 else 0, spread=2.5, folds=folds, **options)  # type: ignore[arg-type]
    every = np.arange(len(features.labels))
    kept = (features.labels < 2) | (every % 5 == 0)
    cut = tuple(replace(f, train=f.train[kept[f.train]], val=f.val[kept[f.val]]) for f in features.folds)
    return replace(features, folds=cut)


def trained(features: Features, *heads: HeadSpec, **keywords: object) -> list[TrainedHead]:
    return train_heads(features, heads, batch_size=BATCH, keep_outcomes=True, **keywords)  # type: ignore[arg-type]


def by_kept_weights(features: Features, spec: HeadSpec, one: TrainedHead, name: str) -> float:
    module = build_head(spec.dims, 0.0)
    module.load_state_dict(one.state)
    val = features.folds[spec.fold].val
    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(features.rows.values[features.rows.first[val]]))
    return sklearns(name, logits, torch.from_numpy(features.labels[val]))


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("folds", [1, 3])
def test_a_stack_is_chosen_by_them_as_each_head_alone_is(folds: int, blocks: int) -> None:
    features = rare(folds)
    features = replace(features, limit_bytes=features.nbytes / blocks)
    names = (*WHOLE, "top1")
    heads = [
        head(seed, fold=fold, selection_metric=f"val_{name}")
        for seed, name in enumerate(names)
        for fold in range(folds)
    ]
    for spec, one in zip(heads, trained(features, *heads), strict=True):
        name = spec.training.selection_metric.removeprefix("val_")
        (solo,) = trained(features, spec)
        assert_same(one, solo)
        assert one.outcomes is not None
        if name == "top1":
            assert all(not row.more for row in one.curve)  # who does not ask does not pay
            continue
        values = [row.more[name] for row in one.curve]
        assert values == pytest.approx([row.more[name] for row in solo.curve], abs=1e-5)
        assert values[one.best_epoch] == max(values)
        assert values[one.best_epoch] == pytest.approx(by_kept_weights(features, spec, one, name), abs=1e-6)
        assert one.outcomes.selected is not None
        assert one.outcomes.selected.mean(axis=1).tolist() == pytest.approx(values, abs=1e-5)


def test_a_head_can_be_judged_by_others_too() -> None:
    features = rare()
    (one,) = trained(features, head(1), also=("macro_f1", "auroc"))
    for name in ("macro_f1", "auroc"):
        assert one.best.more[name] == pytest.approx(by_kept_weights(features, head(1), one, name), abs=1e-6)
    assert one.outcomes is not None
    assert one.outcomes.selected is None  # chosen by top-1 all the same


def test_heads_that_stop_leave_the_others_their_metric() -> None:
    features = rare()
    heads = [head(s, epochs=e, selection_metric="val_macro_f1") for s, e in ((1, 2), (2, 9), (3, 4), (4, 3))]
    for spec, one in zip(heads, trained(features, *heads), strict=True):
        assert len(one.curve) == spec.training.epochs
        expected = by_kept_weights(features, spec, one, "macro_f1")
        assert one.best.more["macro_f1"] == pytest.approx(expected, abs=1e-6)
