"""Weights of images end to end: the loss by hand, in one batch or in parts, mixed or not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import pytest
import torch
from test_training_options import ALL, WHOLE, class_and_content, curve, tune
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torchvision.transforms import v2

from featcache.backbones import build_head, load_backbone
from featcache.data.transforms import EvalTransform
from featcache.options.loading import parse_options
from featcache.options.run_options import Options
from heads.finetune.seeding import seeded
from heads.training.head_stack import initial_state
from heads.training.random_draws import Draws

Config = Callable[..., dict[str, Any]]
CLASSES = {"digit 0": 0.25, "digit 3": 6.0}
DESCENT = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.05, "epochs": 3}


def weight_of(file: Path) -> float:
    """Four of the training images count nothing, and those of a class more than others."""
    return (int(file.stem) % 12) / 2 * (3 if file.parent.name == "digit 0" else 1)


@pytest.fixture
def options(config: Config, digits: Path) -> Callable[..., Options]:
    """Options on a table of all images with a column of weights."""
    with (digits / "table.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["path", "label", "split", "sample weight"])
        for file in sorted(digits.rglob("*.png")):
            name = file.relative_to(digits).as_posix()
            out.writerow([name, file.parent.name, name.split("/")[0], weight_of(file)])

    def make(batch: int, **training: Any) -> Options:
        training = {"unfreeze_schedule": ALL, "selection_metric": "val_loss", **DESCENT, **training}
        model = {"backbone": "networks:without_norms", "dropout": 0.0}
        data = {"path": str(digits / "table.csv"), "batch_size": batch}
        return parse_options(config("run", model=model, data=data, training=training))

    return make


def trained(chosen: Options) -> tuple[nn.Module, nn.Module, Tensor, Tensor, Tensor, Any]:
    """Network and head as training begins; pixels uint8, labels and weights of the images that train."""
    backbone = load_backbone(chosen.model, allow_custom=True)
    backbone.network.requires_grad_(True)
    head = build_head((networks.WIDTHS[-1], 16, 4), 0.0)
    head.load_state_dict(initial_state((networks.WIDTHS[-1], 16, 4), chosen.training.seed))
    every = sorted((Path(chosen.data.path).parent / "train").rglob("*.png"), key=class_and_content)
    files = [f for f in every if weight_of(f)]
    assert len(files) == WHOLE - 4
    labels = torch.tensor([int(f.parent.name[-1]) for f in files])
    x = torch.stack([EvalTransform(backbone.preprocessing)(f) for f in files])
    return backbone.network, head, x, labels, torch.tensor([weight_of(f) for f in files]), backbone.preprocessing


@pytest.mark.parametrize(("accumulate", "classes"), [(1, None), (4, None), (4, CLASSES)])
def test_the_loss_is_that_of_weights_by_hand(
    options: Callable[..., Options], tmp_path: Path, accumulate: int, classes: dict[str, float] | None
) -> None:
    how = {"accumulate": accumulate, "label_smoothing": 0.1, "class_weights": classes}
    chosen = options((WHOLE - 4) // accumulate, **how)
    found = curve(tune(chosen, tmp_path / "results"))
    network, head, x, y, weights, _ = trained(chosen)
    of_classes = None if classes is None else torch.tensor([0.25, 1.0, 1.0, 6.0])
    count = weights if of_classes is None else weights * of_classes[y]
    updates = torch.optim.SGD([*network.parameters(), *head.parameters()], 0.05)
    expected = []
    for _ in range(3):
        each = cross_entropy(head(network(x)), y, of_classes, reduction="none", label_smoothing=0.1)
        loss = (weights * each).sum() / count.sum()  # an image of weight 2 is two images
        updates.zero_grad()
        loss.backward()
        updates.step()
        expected.append(loss.item())
    assert found[:, 0] == pytest.approx(expected, rel=1e-3)
    assert expected[2] < expected[0]


@pytest.mark.parametrize("mixes", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_of_mixed_images_each_part_has_its_own_weight(
    options: Callable[..., Options], tmp_path: Path, mixes: dict[str, float]
) -> None:
    chosen = options(WHOLE - 4, label_smoothing=0.1, **{**mixes, "epochs": 1})
    found = curve(tune(chosen, tmp_path / "results"))
    network, head, x, y, weights, _ = trained(chosen)
    order = Draws(chosen.training.seed, 0).order(len(y))
    x, y, weights = x[order], y[order], weights[order] / weights.mean()
    ways = [v2.MixUp(alpha=0.4, num_classes=4)] if "mixup" in mixes else [v2.CutMix(alpha=1.0, num_classes=4)]
    with seeded(chosen.training.seed, 0, 0, torch.device("cpu")):
        mixed, target = v2.RandomChoice(ways)(x, y)
    differs = int(torch.nonzero(y != y.roll(1))[0])
    share = target[differs, y[differs]].item()
    assert torch.allclose(target, share * one_hot(y, 4) + (1 - share) * one_hot(y.roll(1), 4), atol=1e-6)
    logits = head(network(mixed))
    own, other = (cross_entropy(logits, t, reduction="none", label_smoothing=0.1) for t in (y, y.roll(1)))
    loss = (share * weights * own + (1 - share) * weights.roll(1) * other).mean()
    assert found[0, 0] == pytest.approx(loss.item(), rel=1e-4)
    assert found[0, 0] != pytest.approx((share * own + (1 - share) * other).mean().item(), rel=1e-3)
