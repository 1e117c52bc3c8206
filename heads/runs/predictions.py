"""Logits of a run's heads for each image of val and test: computed, kept in predictions.npz, read back."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.array_archives import require_bounded
from featcache.backbones import build_head
from featcache.devices import products_in
from featcache.extraction import CachedFeatures, Indices, StoreRows
from featcache.records import ImageRecord, Split
from featcache.relatives import content_names, has_groups, relatives
from heads.training import Features, TrainedHead

PIECE = 4096  # test images read at once


@dataclass(frozen=True)
class Predictions:
    """Logits float32 `[H, N, C]` of H heads on a split, labels `[N]`, and the images' names.

    `groups` `[N]` is the same number for images that are not independent of each other (equal contents, and those of
    one of `data.groups`); None where no image has a group. `contents` are the images' sha256; None of a run of an
    earlier version.
    """

    logits: NDArray[np.float32]
    labels: Indices
    images: tuple[str, ...]
    groups: Indices | None = None
    contents: tuple[str, ...] | None = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What each image `[N]` is called in every run on the same data, whatever source it is from."""
        return _keys(self.images, self.contents)

    @property
    def units(self) -> tuple[str, ...]:
        """A key for each image `[N]`, the same for those that are not independent of each other."""
        return _units(self.keys, self.groups)

    @classmethod
    def of(cls, logits: NDArray[np.float32], images: Sequence[ImageRecord]) -> Predictions:
        """Those of logits `[H, N, C]` on these images."""
        labels = np.array([i.label for i in images], dtype=np.int64)
        contents = tuple(i.sha256 for i in images)
        return cls(logits, labels, tuple(i.name for i in images), groups_of(images), contents)


# `probe`: the linear one, on training images out of fold; the logistic one there, and on val by all training images.
ProbeName = Literal["probe", "logistic_probe", "logistic_probe_val"]


@dataclass(frozen=True)
class Probe:
    """Which images a probe got right `[n]`, each without having seen it, their names, and `groups` and `contents` as
    of `Predictions`."""

    right: NDArray[np.bool_]
    images: tuple[str, ...]
    groups: Indices | None = None
    contents: tuple[str, ...] | None = None

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """What each image `[n]` is called in every run on the same data."""
        return _keys(self.images, self.contents)

    @property
    def units(self) -> tuple[str, ...]:
        """A key for each image `[n]`, the same for those that are not independent of each other."""
        return _units(self.keys, self.groups)


def groups_of(images: Sequence[ImageRecord]) -> Indices | None:
    """For each image the first that it is not independent of, by its place; None where no image has a group."""
    return relatives(images) if has_groups(images) else None


def _keys(images: tuple[str, ...], contents: tuple[str, ...] | None) -> tuple[str, ...]:
    return images if contents is None else content_names(contents)


def _units(keys: tuple[str, ...], groups: Indices | None) -> tuple[str, ...]:
    return keys if groups is None else tuple(keys[first] for first in groups)


def predict_val(features: Features, seeds: Sequence[Sequence[TrainedHead]], cached: CachedFeatures) -> Predictions:
    """Each validation image by the head that did not train on it: with folds all of train and val, `[seeds, N, C]`."""
    every = features.val_images
    logits = np.empty((len(seeds), len(every), cached.dims[-1]), np.float32)
    modules = [[_module(head, cached.dims, features.device) for head in folds] for folds in seeds]
    for block in features.blocks(0):
        for number, fold in enumerate(features.folds):
            here = np.isin(block.images, fold.val)
            x = block.x[torch.from_numpy(block.first[here]).to(features.device)]
            for seed, folds in enumerate(modules):
                logits[seed, np.searchsorted(every, block.images[here])] = _run(folds[number], x)
    return Predictions.of(logits, val_records(features, cached))


def val_records(features: Features, cached: CachedFeatures) -> list[ImageRecord]:
    """The validation images in the order of `features.val_images`."""
    pool = [i for i in cached.manifest.images if i.split in ("train", "val")]
    return [pool[i] for i in features.val_images]


def predict_test(cached: CachedFeatures, heads: Sequence[TrainedHead], device: torch.device) -> Predictions:
    """The test images, by every head: the one time that they are read."""
    images = cached.manifest.of("test")
    every = np.arange(len(images))
    rows = StoreRows(cached, tuple(images), np.ones(len(images), np.int64))
    modules = [_module(head, cached.dims, device) for head in heads]
    pieces = []
    for start in range(0, len(images), PIECE):
        x = torch.from_numpy(rows.read(every[start : start + PIECE])).to(device)
        pieces.append(np.stack([_run(module, x) for module in modules]))
    return Predictions.of(np.concatenate(pieces, axis=1), images)


def save_predictions(
    file: Path, splits: Mapping[Split, Predictions], probes: Mapping[ProbeName, Probe] | None = None
) -> None:
    """`predictions.npz`: `<split>_logits`, `<split>_labels`, `<split>_images` (names), `<split>_sha256`,
    `<split>_groups` where there are any; `<probe>_right`, `<probe>_images`, `<probe>_sha256`, `<probe>_groups`."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for split, seen in splits.items():
        arrays |= {
            f"{split}_logits": seen.logits,
            f"{split}_labels": seen.labels,
            f"{split}_images": np.array(seen.images),
        }
        arrays |= _optional(split, seen)
    for name, probe in (probes or {}).items():
        arrays |= {f"{name}_right": probe.right, f"{name}_images": np.array(probe.images)}
        arrays |= _optional(name, probe)
    np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own keyword for one of ours


def _optional(name: str, of: Predictions | Probe) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {}
    if of.groups is not None:
        arrays[f"{name}_groups"] = of.groups
    if of.contents is not None:
        arrays[f"{name}_sha256"] = np.array(of.contents, dtype="S64")
    return arrays


def load_predictions(file: Path, split: Split) -> Predictions:
    """What `save_predictions` wrote; raises OSError, KeyError or ValueError when it is not there or damaged."""
    with arrays_of(file) as arrays:
        images = tuple(arrays[f"{split}_images"].tolist())
        groups = arrays.get(f"{split}_groups")
        contents = _contents(arrays, split)
        return Predictions(arrays[f"{split}_logits"], arrays[f"{split}_labels"], images, groups, contents)


def predictions_of(folder: Path, split: Split) -> Predictions | None:
    """Those of the run in `folder`; None where they are not there or damaged."""
    try:
        return load_predictions(folder / "predictions.npz", split)
    except (OSError, KeyError, ValueError):
        return None


def load_probe(file: Path, name: ProbeName = "probe") -> Probe:
    """What `save_predictions` wrote of a probe; raises OSError, KeyError or ValueError when it is not there."""
    with arrays_of(file) as arrays:
        images = tuple(arrays[f"{name}_images"].tolist())
        return Probe(arrays[f"{name}_right"], images, arrays.get(f"{name}_groups"), _contents(arrays, name))


def _contents(arrays: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    hashes = arrays.get(f"{name}_sha256")
    return None if hashes is None else tuple(hashes.astype(str).tolist())


@contextmanager
def arrays_of(file: Path) -> Iterator[Any]:
    """The arrays of an .npz file; a damaged one is a ValueError, whichever way it is damaged."""
    try:
        with file.open("rb") as stream:  # numpy leaves a damaged file open
            require_bounded(stream)
            with np.load(stream, allow_pickle=False) as arrays:
                yield arrays
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{file}: is damaged ({error})") from None


def _module(head: TrainedHead, dims: Sequence[int], device: torch.device) -> torch.nn.Module:
    module = build_head(dims, 0.0, head.normalise).to(device).eval()
    module.load_state_dict(head.state)
    return module


def _run(module: torch.nn.Module, x: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode(), products_in("float32", x.device):
        logits: NDArray[np.float32] = module(x).cpu().numpy()
    return logits
