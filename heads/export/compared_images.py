"""Images of a run's data set as its networks see them: to compare an export on, and to calibrate int8 by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from featcache.counted_nouns import counted
from featcache.data import Decoder, Task, locate
from featcache.errors import FeatcacheError
from featcache.records import ImageRecord, Preprocessing, Split
from heads.export.opened_run import OpenedRun
from heads.runs import images_of, manifest_of

NOISE = 64  # images that stand in where the data set's are gone
NAMED: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, eq=False)
class ComparedImages:
    """Pixels uint8 `[N, 3, S, S]` for each part, and what they are, in words."""

    pixels: tuple[Tensor, ...]
    what: str

    def __len__(self) -> int:
        return len(self.pixels[0])


def images_to_compare(run: OpenedRun, most: int, cache: Path) -> ComparedImages:
    """Validation images, `most` at most; seeded noise where none can be read."""
    found = images_of_run(run, "val", most, cache)
    if isinstance(found, ComparedImages):
        return found
    generator = torch.Generator().manual_seed(0)
    sides = [part.preprocessing.input_size for part in run.parts]
    noise = tuple(torch.randint(0, 256, (NOISE, 3, s, s), dtype=torch.uint8, generator=generator) for s in sides)
    return ComparedImages(noise, f"{NOISE} images of seeded noise, as no validation image could be had ({found})")


def images_of_run(run: OpenedRun, split: Split, most: int, cache: Path) -> ComparedImages | str:
    """Images of a split, a seeded sample of `most` where there are more; or why there are none."""
    options = run.model.options
    try:
        manifest = manifest_of(run.record, cache)
        pool = _sample(images_of(manifest, split, options.data.folds), most)
        chosen = locate(replace(manifest, images=pool), options.data, cache).images
    except FeatcacheError as error:
        return str(error)
    tasks = [Task(image.sha256, image.place, (0,)) for image in chosen]
    read = [_read(tasks, part.preprocessing, options.data.workers) for part in run.parts]
    there = [task.sha256 for task in tasks if all(task.sha256 in images for images, _ in read)]
    if not there:
        return next((reason for _, reason in read if reason), f"the run has no {NAMED[split]} images")
    pixels = tuple(torch.stack([images[sha256] for sha256 in there]) for images, _ in read)
    return ComparedImages(pixels, counted(len(there), f"{NAMED[split]} image"))


def _read(tasks: Sequence[Task], preprocessing: Preprocessing, workers: int | None) -> tuple[dict[str, Tensor], str]:
    """Pixels by content, and why the last of the others cannot be read."""
    found: dict[str, Tensor] = {}
    reason = ""
    for block in Decoder(preprocessing, (), workers).blocks(tasks, len(tasks), 1, ahead=False):
        for one in block:
            if one.images is None:
                reason = str(one.error)
            else:
                found[one.task.sha256] = one.images[0]
    return found, reason


def _sample(images: tuple[ImageRecord, ...], most: int) -> tuple[ImageRecord, ...]:
    if len(images) <= most:
        return images
    chosen = np.sort(np.random.default_rng(0).choice(len(images), most, replace=False))
    return tuple(images[i] for i in chosen)
