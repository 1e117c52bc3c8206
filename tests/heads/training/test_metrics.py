"""Figures from logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import top_k_accuracy_score

from featcache.statistics import Scores, figure_interval
from heads.training.figure_summary import figure_limits, summarise
from heads.training.metrics import confusion, in_top_k, outcome, per_class


def test_top_k_agrees_with_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 6, generator=generator), torch.randint(6, (200,), generator=generator)
    for k in (1, 3):
        expected = top_k_accuracy_score(labels.numpy(), logits.numpy(), k=k, labels=range(6))
        assert in_top_k(logits, labels, k).double().mean().item() == pytest.approx(expected)


def test_top_3_of_two_classes_is_always_right() -> None:
    assert in_top_k(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0]), 3).all()
    dead = torch.full((2, 3), torch.nan)
    dead[1] = torch.tensor([9.0, torch.nan, 0.0])
    assert not in_top_k(dead, torch.tensor([0, 0]), 3).any()


def test_an_outcome_is_per_image() -> None:
    seen = outcome(torch.tensor([[4.0, 0, 0, 0], [0, 1.0, 3.0, 2.0]]), torch.tensor([0, 0]))
    assert seen.values["top1"].tolist() == [1.0, 0.0]
    assert seen.values["top3"].tolist() == [1.0, 0.0]
    assert seen.predicted.tolist() == [0, 2]
    assert seen.values["loss"][0] < seen.values["loss"][1]


def test_the_interval_covers_seeds_and_images() -> None:
    rng = np.random.default_rng(6)  # seeds that differ by no more than their images make them
    values = (rng.random((3, 400)) < 0.8).astype(float)
    scores = Scores(values, tuple(map(str, range(400))))
    summary = summarise(scores)
    low, high = summary["ci95"]
    assert low < summary["mean"] < high
    assert summary["mean"] == pytest.approx(values.mean())
    assert summary["std"] == pytest.approx(values.mean(axis=1).std(ddof=1))
    # 400 images at 0.8 alone give a half-width of 0.039; averaging three seeds with images of their own narrows it.
    assert 0.02 < (high - low) / 2 < 0.045
    assert summarise(scores) == summary
    assert summarise(Scores(-values, scores.units, bounded=False), negative=True)["mean"] == summary["mean"]


def test_one_seed_has_no_spread() -> None:
    summary = summarise(Scores(np.ones((1, 10)), tuple("abcdefghij")))
    assert summary["std"] == 0.0
    assert summary["ci95"] == pytest.approx([0.722, 1.0], abs=0.001)  # ten of ten (Wilson 1927): never a width of 0


def test_recall_and_confusion_count_by_class() -> None:
    labels, predicted = torch.tensor([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    assert confusion(labels, predicted, 3) == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert [c["recall"] for c in per_class(labels, predicted, ("a", "b", "c"))] == [0.5, 1.0, 1.0]
    assert [c["n"] for c in per_class(labels, predicted, ("a", "b", "c"))] == [2, 1, 1]


def test_a_loss_that_is_equal_on_every_image_is_not_known_for_sure() -> None:
    units = tuple(map(str, range(100)))
    room = 1.96**2 / (100 + 1.96**2)  # the share of images that may be unlike these, of which none was seen
    for loss, expected in (
        (0.054, [0.054 - room, 0.054 + room]),
        (0.0, [0.0, room]),
        (2.0, [2 - 2 * room, 2 + 2 * room]),
    ):
        nearly = -loss * (1 + 1e-4 * np.cos(np.arange(100)))[None]
        found = summarise(Scores(nearly, units, bounded=False, loss=True), negative=True)
        assert found["ci95"] == pytest.approx(expected, abs=1e-3)
    spread = Scores(-np.linspace(0.01, 0.3, 100)[None], units, bounded=False, loss=True)
    assert figure_limits(spread) == figure_interval(spread)
