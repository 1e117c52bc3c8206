"""The embedded demo set: handwritten digits 0 to 3 from scikit-learn, written as an image folder.

Source: E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository
(CC BY 4.0); scikit-learn ships the 1,797 images of its test part, 720 of them in these four classes.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from featcache.atomic import make_folder
from featcache.records import Split

DEMO_DIGITS = "demo:digits"
CLASSES = 4
SIDE = 64  # pixels: the 8 x 8 originals, enlarged, so that they can be looked at


def materialise(cache_dir: Path) -> Path:
    """The folder of digits under `cache_dir`, written on first use: 720 PNG files in train, val and test."""
    folder = cache_dir / "demo" / "digits"
    if folder.is_dir():
        return folder
    from sklearn.datasets import load_digits

    digits = load_digits(n_class=CLASSES)
    make_folder(folder.parent)
    partial = folder.with_name(f".digits.{os.getpid()}.tmp")
    try:
        for index, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            image = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
            place = partial / _split(index) / str(digit)
            place.mkdir(parents=True, exist_ok=True)
            image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(place / f"{index:04d}.png")
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process was first: its folder is the same
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _split(index: int) -> Split:
    """70 / 15 / 15 in a fixed pattern; scikit-learn's order mixes writers and classes."""
    place = index % 20
    return "train" if place < 14 else ("val" if place < 17 else "test")
