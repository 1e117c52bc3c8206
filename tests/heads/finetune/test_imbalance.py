"""Class weights and balanced draws end to end: torch's own loss, and draws in equal numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_training_options import WHOLE, curve, options, tune, whole_train_set
from torch.nn.functional import cross_entropy

from featcache.errors import OptionsError
from heads.finetune.seed_trainer import _repeats
from heads.training.random_draws import Draws

Config = Callable[..., dict[str, Any]]
WEIGHTS = {"digit 0": 0.25, "digit 3": 6.0}


@pytest.mark.parametrize("accumulate", [1, 4])
def test_weights_are_torchs_however_the_batch_is_taken(config: Config, tmp_path: Path, accumulate: int) -> None:
    chosen = options(
        config, batch=WHOLE // accumulate, accumulate=accumulate, optimizer="sgd", momentum=0.0, weight_decay=0.0,
        learning_rate=0.05, class_weights=WEIGHTS, label_smoothing=0.1, epochs=3,
    )  # fmt: skip
    found = curve(tune(chosen, tmp_path / "results"))
    network, head, x, y = whole_train_set(chosen)
    network.requires_grad_(True)
    updates = torch.optim.SGD([*network.parameters(), *head.parameters()], 0.05)
    expected = []
    for _ in range(3):
        loss = cross_entropy(head(network(x)), y, torch.tensor([0.25, 1.0, 1.0, 6.0]), label_smoothing=0.1)
        updates.zero_grad()
        loss.backward()
        updates.step()
        expected.append(loss.item())
    assert found[:, 0] == pytest.approx(expected, rel=1e-3)
    assert expected[2] < expected[0]


def test_balanced_draws_are_those_of_the_heads(config: Config, tmp_path: Path, digits: Path) -> None:
    for file in sorted((digits / "train" / "digit 3").iterdir())[2:]:
        file.unlink()
    chosen = options(config, batch=WHOLE, learning_rate=1e-12, balanced_draws=True, epochs=2)
    found = curve(tune(chosen, tmp_path / "results"))
    network, head, x, y = whole_train_set(chosen)
    for epoch in range(2):
        order = Draws(chosen.training.seed, epoch).balanced(y.numpy())
        assert np.bincount(y.numpy()[order]).max() <= -(-len(y) // 4)
        with torch.no_grad():
            expected = cross_entropy(head(network(x[order])), y[order]).item()
        assert found[epoch, 0] == pytest.approx(expected, rel=1e-4)


def test_mixed_images_and_views_go_with_both(config: Config, tmp_path: Path) -> None:
    for how in ({"mixup": 0.4}, {"precision": "bfloat16"}):
        chosen = options(config, class_weights="balanced", balanced_draws=True, **how)
        assert np.isfinite(curve(tune(chosen, tmp_path / next(iter(how))))).all()


def test_an_image_drawn_again_has_another_view() -> None:
    assert _repeats(np.array([4, 2, 4, 4, 0, 2])).tolist() == [0, 0, 1, 2, 0, 1]
    assert _repeats(np.array([3, 1, 2])).tolist() == [0, 0, 0]


def test_a_class_that_is_not_there_is_said_before_any_work(config: Config, tmp_path: Path) -> None:
    chosen = options(config, class_weights={"digit nine": 2.0})
    with pytest.raises(OptionsError, match="no class is called 'digit nine'"):
        tune(chosen, tmp_path / "results")
    assert not list((tmp_path / "cache").glob("*.h5"))


def test_where_a_run_goes_is_not_told_of_options_that_cannot_be_followed(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = options(config)
    (tmp_path / "results" / chosen.experiment_name).mkdir(parents=True)
    with caplog.at_level("INFO", "featcache"), pytest.raises(OptionsError, match="no class is called"):
        tune(options(config, class_weights={"digit nine": 2.0}), tmp_path / "results")
    assert "this run goes to" not in caplog.text
