"""JPEG photographs for benchmarks: crops of the two that scikit-learn ships, so that decoding costs what it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = 4


def write_photographs(root: Path, count: int, width: int = 500, height: int = 375) -> Path:
    """An image folder of `count` distinct JPEG files in 4 classes, the same every time."""
    rng = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    for i in range(count):
        source = sources[i % len(sources)]
        w = int(rng.integers(240, 480))
        h = w * height // width
        left, top = int(rng.integers(0, source.width - w)), int(rng.integers(0, source.height - h))
        crop = source.crop((left, top, left + w, top + h)).resize((width, height), Image.Resampling.BICUBIC)
        folder = root / f"class {i % CLASSES}"
        folder.mkdir(parents=True, exist_ok=True)
        crop.save(folder / f"{i:05d}.jpg", quality=90)
    return root


def machine() -> str:
    """What the figures were measured on."""
    import os
    import platform

    import torch

    from featcache.devices import device_name, pick_device

    device = pick_device()
    return (
        f"{device_name(device)} ({device.type}), {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )
