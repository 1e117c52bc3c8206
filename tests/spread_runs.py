"""What tests of work that is spread over workers share: images in numbers that nothing divides, options, comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from conftest import write_digits

from featcache.session import Session
from featcache.workers import Workers

CPU = torch.device("cpu")
TINY = "resume_networks:plain"  # of a module that workers import in no time
Make = Callable[..., dict[str, Any]]


def write_images(root: Path) -> Path:
    """Images, in numbers that nothing divides, one of which is none and one of which is there twice."""
    write_digits(root, {"train": 33, "val": 7, "test": 4})
    (root / "train" / "digit 1" / "broken.png").write_text("no image")
    (root / "train" / "digit 2" / "again.png").write_bytes((root / "train" / "digit 2" / "000.png").read_bytes())
    return root


def options_maker(images: Path, folder: Path) -> Make:
    """Options of a quick run on `images`, its cache below `folder`."""

    def options(cache: str, backbone: str = TINY, /, **sections: dict[str, Any]) -> dict[str, Any]:
        base: dict[str, Any] = {
            "experiment_name": "run",
            "model": {"backbone": backbone, "input_size": 32, "classifier_dims": ["auto", 16, "auto"]},
            "data": {"path": str(images), "batch_size": 16, "workers": 2, "max_bad_fraction": 0.1},
            "training": {"epochs": 3, "learning_rate": 0.01},
            "cache": {"dir": str(folder / cache), "batch_size": 8, "dtype": "float32"},
            "profile": {"iterations": 1, "warmup": 0},
        }
        base["model"]["pretrained"] = ":" in backbone
        for section, values in sections.items():
            base[section] = {**base[section], **values}
        return base

    return options


def session(workers: Workers | None, **more: Any) -> Session:
    return Session(CPU, allow_custom=True, workers=workers, **more)


def arrays(file: Path) -> dict[str, np.ndarray]:
    """Every array of a store, as it lies there."""
    found = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(file) as store:
        store.visititems(visit)
    return found


def assert_same_store(one: Path, other: Path) -> None:
    a, b = arrays(one), arrays(other)
    assert a.keys() == b.keys() and {"sha256", "features"} <= a.keys()
    assert [name for name in a if not np.array_equal(a[name], b[name])] == []
