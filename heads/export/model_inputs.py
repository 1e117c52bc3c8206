"""What goes into an exported model: one batch of images, or one for each way that joined backbones want them made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.data import normalise
from featcache.records import Preprocessing
from heads.export.request import Input

Batch = list[NDArray[np.generic]]  # an array for each input


@dataclass(frozen=True)
class ModelInput:
    """One input: its name, how its images are made, and the first part that takes it."""

    name: str
    preprocessing: Preprocessing
    part: int


@dataclass(frozen=True)
class ModelInputs:
    """Every input, and which of them each part takes.

    Of kind uint8 an input is `[N, S, S, 3]`, 0 to 255, RGB, and parts that differ in mean and deviation alone share
    one; normalised it is float32 `[N, 3, S, S]`.
    """

    kind: Input
    every: tuple[ModelInput, ...]
    of_part: tuple[int, ...]

    @classmethod
    def of(cls, recipes: Sequence[Preprocessing], kind: Input) -> ModelInputs:
        """Those of backbones with these recipes."""
        keys = [_geometry(recipe) if kind == "uint8" else recipe for recipe in recipes]
        distinct = list(dict.fromkeys(keys))
        names = ["images"] if len(distinct) == 1 else [f"images_{n}" for n in range(1, len(distinct) + 1)]
        firsts = [keys.index(key) for key in distinct]
        every = tuple(ModelInput(name, recipes[part], part) for name, part in zip(names, firsts, strict=True))
        return cls(kind, every, tuple(distinct.index(key) for key in keys))

    @property
    def names(self) -> list[str]:
        """Of each input."""
        return [one.name for one in self.every]

    def examples(self, images: int) -> tuple[Tensor, ...]:
        """Black images of each input, to trace with."""
        sides = [one.preprocessing.input_size for one in self.every]
        if self.kind == "uint8":
            return tuple(torch.zeros(images, side, side, 3, dtype=torch.uint8) for side in sides)
        return tuple(torch.zeros(images, 3, side, side) for side in sides)

    def batch(self, pixels: Sequence[Tensor], start: int, stop: int) -> Batch:
        """The inputs of images from `start` to `stop`; `pixels` are of each part, uint8 `[N, 3, S, S]`."""
        batch: Batch = []
        for one in self.every:
            images = pixels[one.part][start:stop]
            if self.kind == "uint8":
                batch.append(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()))
            else:
                batch.append(normalise(images, one.preprocessing).numpy())
        return batch


def _geometry(recipe: Preprocessing) -> Preprocessing:
    """The recipe less what is done inside the graph."""
    return replace(recipe, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
