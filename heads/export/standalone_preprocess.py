"""Image files become what the model beside this file takes, by preprocessing.json; needs Pillow and numpy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
EIGHT_BITS = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB"}
RECIPE = json.loads((HERE / "preprocessing.json").read_text("utf-8")) if (HERE / "preprocessing.json").exists() else {}


def batch_of(files: Sequence[Any], recipe: dict[str, Any] = RECIPE) -> list[np.ndarray[Any, Any]]:
    """The model's inputs, an array for each, of image files (or open Pillow images)."""
    images = [upright(file if isinstance(file, Image.Image) else Image.open(file)) for file in files]
    return [np.stack([prepared(image, one) for image in images]) for one in recipe["inputs"]]


def upright(image: Image.Image) -> Image.Image:
    """Turned as EXIF says, transparency on white, RGB. Raises ValueError of more than 8 bits: Pillow would cut them."""
    if image.mode not in EIGHT_BITS:
        raise ValueError(f"mode {image.mode}: scale it to 8 bits first, by `depth` in preprocessing.json")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def prepared(image: Image.Image, one: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Resized and cropped, uint8 [S, S, 3]; or normalised as well, float32 [3, S, S]."""
    pixels = np.asarray(_cropped(_resized(image, one), one["input_size"]))
    if one["kind"] == "uint8":
        return pixels
    scaled = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(one[name], np.float32)[:, None, None] for name in ("mean", "std"))
    normalised: np.ndarray[Any, Any] = (scaled - mean) / std
    return normalised


def _resized(image: Image.Image, one: dict[str, Any]) -> Image.Image:
    """To `resize_size` by the shorter side, or by both (`squash`)."""
    size, (width, height) = one["resize_size"], image.size
    if one["resize_mode"] == "squash":
        new = (size, size)
    elif width <= height:
        new = (size, int(size * height / width))
    else:
        new = (int(size * width / height), size)
    return image if new == image.size else image.resize(new, Image.Resampling[one["interpolation"].upper()])


def _cropped(image: Image.Image, side: int) -> Image.Image:
    """The middle `side` x `side`, black where the image is smaller."""
    width, height = image.size
    if width < side or height < side:
        left, top = (max(side - width, 0) // 2, max(side - height, 0) // 2)
        padded = Image.new("RGB", (max(side, width), max(side, height)))
        padded.paste(image, (left, top))
        image, (width, height) = padded, padded.size
    left, top = round((width - side) / 2.0), round((height - side) / 2.0)
    return image.crop((left, top, left + side, top + side))
