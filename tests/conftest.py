"""What tests share: small real images in folders, and options for quick runs on a tiny network."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

from featcache.records import Preprocessing

TINY = "conftest:tiny_backbone"  # with allow_custom: built in a millisecond


def tiny_backbone() -> tuple[nn.Module, Preprocessing]:
    """A convolution, a batch norm and a classifier: 16 features at 32 pixels, the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        features = nn.Sequential(nn.Conv2d(3, 16, 5, stride=3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    network = nn.Module()
    network.features = features
    network.classifier = nn.Linear(64, 10)
    network.forward = lambda x: network.classifier(network.features(x).flatten(1))
    return network, Preprocessing(input_size=32, resize_size=36)


def slow_backbone() -> tuple[nn.Module, Preprocessing]:
    """The same, a tenth of a second a pass: slow enough to be killed on the way."""
    network, preprocessing = tiny_backbone()
    forward = network.forward

    def slowly(x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        features: torch.Tensor = forward(x)
        return features

    network.forward = slowly
    return network, preprocessing


def write_digits(root: Path, counts: dict[str, int], classes: int = 4) -> Path:
    """An image folder of real handwritten digits: `counts[split]` images of each class; "" for a bare folder."""
    digits = load_digits(n_class=classes)
    for label in range(classes):
        pictures = iter(digits.images[digits.target == label])
        for split, count in counts.items():
            folder = root / split / f"digit {label}"
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = (next(pictures) * 15.9).astype(np.uint8)
                Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")
    return root


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """12 training, 5 val and 4 test images of each of 4 classes."""
    return write_digits(tmp_path / "digits", {"train": 12, "val": 5, "test": 4})


@pytest.fixture
def config(tmp_path: Path, digits: Path) -> Callable[..., dict[str, Any]]:
    """A plain options dict for a quick run on `digits`; keyword sections are merged in."""

    def make(name: str = "run", **sections: dict[str, Any]) -> dict[str, Any]:
        base: dict[str, Any] = {
            "experiment_name": name,
            "model": {
                "backbone": "squeezenet1_1",
                "input_size": 32,
                "classifier_dims": ["auto", 16, 4],
                "pretrained": False,
            },
            "data": {"path": str(digits), "batch_size": 16, "workers": 2},
            "training": {"epochs": 4, "learning_rate": 0.003},
            "cache": {"dir": str(tmp_path / "cache"), "batch_size": 8},
            "profile": {"iterations": 3, "warmup": 1},
        }
        for section, values in sections.items():
            base.setdefault(section, {}).update(values)
        return base

    return make


# The files that take longest, in the order that two processes take them: a long one at the end would keep the other
# process waiting, and those of one report do not begin together, since one of them makes it.
LONG = (
    *("test_resume.py", "test_report_page.py", "test_two_files.py", "test_finetune_command.py"),
    *("test_report_figures.py", "test_trust.py", "test_report_states.py", "test_sweep.py", "test_end_to_end.py"),
    *("test_report_registry.py", "test_training_options.py", "test_head_normalise.py", "test_distributed.py"),
    *("test_profiling.py", "test_parity.py", "test_side_by_side.py", "test_export_run.py", "test_serve_command.py"),
    *("test_several_devices.py", "test_commands.py", "test_audit_command.py", "test_augmentations.py"),
    *("test_cluster.py", "test_export_command.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays: the garbage collector, which would look through all of it again and
    again, takes a tenth of the time otherwise."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or packages would complain that their objects are left over


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks gain nothing from threads, and threads that spin on a shared machine cost ten times the work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command line installs handlers on featcache's logger; the next test must not write to their streams, nor must
    one after a fixture of a whole module that ran commands."""
    log = logging.getLogger("featcache")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.INFO)
    yield
    log.handlers, log.propagate = [], True
    log.setLevel(logging.INFO)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Tests are offline and see empty hub caches, whatever the machine has."""
    if "network" in request.keywords:
        return
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-hub"))
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path / "torch-hub"))
    monkeypatch.setattr("featcache.backbones.weights._why_unreachable", lambda url: "the test has no network")
