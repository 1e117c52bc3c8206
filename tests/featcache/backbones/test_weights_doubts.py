"""Weights that load by name and not by meaning: the file's own notes, the first batch norm, the maps' edges."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from checkpoint_makers import saved
from torch import Tensor, nn

from featcache.backbones import describe_backbone, load_backbone
from featcache.backbones import factory as factory_file
from featcache.backbones.batchnorm_evidence import (
    KNOWN_SCALINGS,
    _pixels,
    _scaled,
    doubt_scaling,
    edge_asymmetry,
    padded_better,
)
from featcache.options import Options
from featcache.options.model_options import ModelOptions
from featcache.records import Preprocessing

NAME = "test_efficientnet"  # a small one with batch norms
IMAGENET = Preprocessing(64, 64)
HALF = Preprocessing(64, 64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def _not_yet_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory_file, "_said", set())


def trained_on(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The network's weights once its batch norms have seen `images`, as training leaves them."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average
        norm.reset_running_stats()
    with torch.no_grad():
        network.train()(images)
    return network.eval().state_dict()


def photographs(count: int, size: int, scaling: str) -> Tensor:
    """Other images than those that the evidence is taken with."""
    return _scaled(_pixels(32, size).flip(0, 3)[:count] * 0.95 + 0.02, KNOWN_SCALINGS[scaling])


SCALINGS = {"ImageNet's mean and std": IMAGENET, "mean and std 0.5 (pixels from -1 to 1)": HALF}


@pytest.mark.parametrize("trained", [*KNOWN_SCALINGS])
@pytest.mark.parametrize("asked", SCALINGS)
def test_the_scaling_of_the_images_is_seen_in_the_first_batch_norm(trained: str, asked: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(NAME, num_classes=0)
    trained_on(network, photographs(16, 64, trained))
    doubt = doubt_scaling(network, SCALINGS[asked])
    assert (doubt.better if doubt else asked) == trained


def test_networks_that_tell_nothing_are_not_doubted() -> None:
    for network in (timm.create_model(NAME, num_classes=0), timm.create_model("test_vit", num_classes=0)):
        assert (
            doubt_scaling(network.eval(), HALF if "vit" not in str(type(network)) else Preprocessing(160, 160)) is None
        )


def test_a_domain_of_its_own_is_not_doubted() -> None:
    """Dark scans have another variance too, and no other scaling explains it."""
    network = timm.create_model(NAME, num_classes=0)
    trained_on(network, 0.75 * photographs(16, 64, "ImageNet's mean and std"))
    assert doubt_scaling(network, IMAGENET) is None


class Padded(nn.Module):
    """A convolution that pads left, right, top and bottom so far, and a batch norm."""

    def __init__(self, *sides: int) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d(sides)
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.conv.weight.data.fill_(0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(images)))


def test_padding_on_one_side_stands_out_at_that_sides_edges() -> None:
    even, left, right = Padded(1, 1, 1, 1), Padded(2, 0, 2, 0), Padded(0, 2, 0, 2)
    bright = Preprocessing(64, 64, mean=(-1.0, -1.0, -1.0), std=(0.25, 0.25, 0.25))  # far from what pads
    images = _scaled(_pixels(8, 64), (bright.mean, bright.std))
    trained_on(even, images)
    for other in (left, right):
        other.load_state_dict(even.state_dict())
        other.eval()
        assert edge_asymmetry(even, images) < 0.1 < 0.3 < edge_asymmetry(other, images)
        assert padded_better(other, even, bright) and not padded_better(even, other, bright)
    assert edge_asymmetry(nn.Conv2d(3, 4, 3), images) == 0  # no batch norm tells anything


# What is said of a file


def warnings_of(path: Path, backbone: str, caplog: pytest.LogCaptureFixture, size: int = 64) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "featcache"):
        load_backbone(ModelOptions(backbone=backbone, input_size=size, weights=str(path)))
    return "\n".join(r.getMessage() for r in caplog.records)


def noted(arch: str) -> Iterator[dict[str, Any]]:
    yield {"arch": arch}
    yield {"args": argparse.Namespace(model=arch, lr=1)}
    yield {"hyper_parameters": {"model_name": arch}}
    yield {"hyper_parameters": {"args": argparse.Namespace(arch=arch)}}
    yield {"config": {"model": {"backbone": arch}}}


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize(
    ("arch", "warns"),
    [
        ("resnet34", True), ("timm/resnet34.a1_in1k", True), ("ResNet34", True),
        ("test_resnet", False), ("test_resnet.r160_in1k", False), ("Test-ResNet", False), ("my_experiment", False),
    ],
)  # fmt: skip
def test_the_files_own_notes_are_compared(
    tmp_path: Path, place: int, arch: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    state = timm.create_model("test_resnet").state_dict()
    path = saved({**list(noted(arch))[place], "state_dict": state}, tmp_path / "mine.pth")
    said = warnings_of(path, "test_resnet", caplog)
    expected = "mine.pth: are these weights of test_resnet? It seems that the file notes resnet34 as what it holds"
    assert said == (expected if warns else "")


def test_the_notes_of_one_file_are_not_those_of_another_with_its_tensors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = timm.create_model("test_resnet").state_dict()
    plain, other = saved(state, tmp_path / "a.pth"), saved({"arch": "resnet34", "model": state}, tmp_path / "b.pth")
    assert warnings_of(plain, "test_resnet", caplog) == ""
    assert "the file notes resnet34" in warnings_of(other, "test_resnet", caplog)


@pytest.fixture(scope="module")
def tf_weights() -> dict[str, Tensor]:
    """Of tf_efficientnet_lite0, whose batch norms have seen images scaled and padded as it does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("tf_efficientnet_lite0")
    return trained_on(network, photographs(8, 224, "mean and std 0.5 (pixels from -1 to 1)"))


def test_another_architectures_tensors_of_the_same_names_are_doubted(
    tmp_path: Path, tf_weights: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tf_weights, tmp_path / "lite0.pth")
    assert warnings_of(path, "tf_efficientnet_lite0", caplog, 96) == ""
    said = warnings_of(path, "efficientnet_lite0", caplog, 96)
    assert (
        "lite0.pth: are these weights of efficientnet_lite0? It seems that they were trained on images scaled" in said
    )
    assert "mean and std 0.5 (pixels from -1 to 1) would suit it" in said


def test_nothing_is_asked_twice_nor_of_a_remembered_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []
    monkeypatch.setattr(factory_file, "doubts", lambda *a: asked.append(a) or ["something is odd"])
    path = saved(timm.create_model("test_resnet").state_dict(), tmp_path / "a.pth")
    run = Options.model_validate(
        {"experiment_name": "x", "data": {"path": "x"}, "cache": {"dir": str(tmp_path)},
         "model": {"backbone": "test_resnet", "input_size": 64, "weights": str(path)}}
    )  # fmt: skip
    describe_backbone(run)
    assert len(asked) == 1 and "a.pth: are these weights of test_resnet? It seems that something is odd" in caplog.text
    caplog.clear()
    for name, empty in (("_doubts", {}), ("_said", set())):  # another process
        monkeypatch.setattr(factory_file, name, empty)
    assert describe_backbone(run)[1] is None
    assert len(asked) == 1 and caplog.text.count("It seems that something is odd") == 1  # remembered, and said again
    load_backbone(run), load_backbone(run)
    assert len(asked) == 2 and caplog.text.count("It seems that something is odd") == 1
