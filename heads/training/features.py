"""Cached features as heads train on them: labelled images, cut into folds, whole in memory or in blocks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from featcache.counted_nouns import counted
from featcache.data import require_folds
from featcache.errors import DataError
from featcache.extraction import CachedFeatures, Indices, StoreRows, row_places
from featcache.records import ImageRecord
from featcache.relatives import family_names
from heads.training.feature_fit import Fit
from heads.training.loss_weights import training_weights
from heads.training.soft_targets import SoftTargets

log = logging.getLogger("featcache")


RUN_IMAGES = 64  # neighbours that stay together when blocks are shuffled: the store reads whole chunks, not single rows


class Rows(Protocol):
    """Where features come from."""

    @property
    def width(self) -> int:
        """F."""

    def read(self, images: Indices) -> NDArray[np.float32]:
        """Features float32 `[R, F]` of these images: the plain view of each, followed by its other views."""


@dataclass(frozen=True)
class Fold:
    """Which images of the pool train, and which choose the best epoch."""

    train: Indices
    val: Indices


@dataclass(frozen=True)
class Block:
    """Some images of the pool with their features `[R, F]` on the device; `first` is the row of each plain view."""

    number: int
    images: Indices
    x: Tensor
    first: Indices
    soft: Tensor | None = None  # logarithms of a teacher's probabilities `[R, C]`


@dataclass(frozen=True, eq=False)
class Features:
    """A pool of images: labels `[N]`, how many views each has, and the folds that heads train on.

    What takes more than `limit_bytes` is read anew for each epoch in blocks of shuffled runs of neighbours. With one
    block nothing is shuffled but the order of training itself, so the result is that of features held whole.
    """

    rows: Rows
    labels: Indices
    views: Indices
    folds: tuple[Fold, ...]
    classes: int
    device: torch.device
    limit_bytes: float = float("inf")
    class_names: tuple[str, ...] = ()
    weights: NDArray[np.float64] | None = None  # what each image counts in the loss [N]; None: all the same
    soft: SoftTargets | None = None  # what a teacher answers, where heads learn from one

    @cached_property
    def fits(self) -> dict[tuple[str, int], Fit]:
        """What is known of the training images of folds, by what it is for and the fold."""
        return {}

    @property
    def nbytes(self) -> int:
        """Bytes of all features as float32."""
        return int(self.views.sum()) * self.rows.width * 4

    @property
    def block_count(self) -> int:
        """Blocks in an epoch."""
        runs = -(-len(self.labels) // RUN_IMAGES)
        return min(runs, max(1, int(-(-self.nbytes // self.limit_bytes))))

    @cached_property
    def val_images(self) -> Indices:
        """Every image that some fold validates on, in order: what predictions on val are of."""
        return np.unique(np.concatenate([f.val for f in self.folds]))

    def blocks(self, epoch: int) -> Iterator[Block]:
        """The pool, each image once. What shares a block is drawn anew for each epoch, the same for all heads."""
        if self.block_count == 1:
            yield self._whole
            return
        runs = np.array_split(np.arange(len(self.labels)), -(-len(self.labels) // RUN_IMAGES))
        shuffled = np.random.default_rng([epoch, len(runs)]).permutation(len(runs))
        for number, chosen in enumerate(np.array_split(shuffled, self.block_count)):
            yield self._block(number, np.concatenate([runs[r] for r in np.sort(chosen)]))

    @cached_property
    def _whole(self) -> Block:
        return self._block(0, np.arange(len(self.labels)))

    def _block(self, number: int, images: Indices) -> Block:
        views = self.views[images]
        x = torch.from_numpy(self.rows.read(images)).to(self.device)
        return Block(number, images, x, np.cumsum(views) - views, self._soft(images))

    def _soft(self, images: Indices) -> Tensor | None:
        if self.soft is None:
            return None
        first = np.cumsum(self.views) - self.views
        return torch.from_numpy(self.soft.logs[row_places(first[images], self.views[images])]).to(self.device)


def load_features(cached: CachedFeatures, device: torch.device, *, folds: int | None, limit_bytes: float) -> Features:
    """Training and validation images of an extraction, or of several whose features lie side by side.

    Without `folds` there is one: train against val. With it both are pooled and cut into so many, stratified by class,
    equal files and those of a group together. Test images are no part of it. Images of weight 0 train nothing: they
    choose epochs where they are in val.
    """
    manifest = cached.manifest
    train, val = manifest.of("train"), manifest.of("val")
    images = (*train, *val)
    labels = np.array([i.label for i in images], dtype=np.int64)
    views = np.ones(len(images), dtype=np.int64)
    views[: len(images) if folds else len(train)] = cached.parts[0].views
    if folds is None:
        every = np.arange(len(images))
        cut: tuple[Fold, ...] = (Fold(every[: len(train)], every[len(train) :]),)
    else:
        cut = _cut(images, labels, folds, manifest.classes)
    cut, weights = _weighted(images, len(images if folds else train), cut)
    features = Features(
        StoreRows(cached, images, views),
        labels,
        views,
        cut,
        len(manifest.classes),
        device,
        limit_bytes,
        manifest.classes,
        weights,
    )
    if features.block_count > 1:
        log.warning(
            "%s: features take %.1f GB, more than cache.max_features_gb (%.1f): they are read from the store in %d "
            "shuffled blocks in every epoch",
            manifest.name,
            features.nbytes / 1e9,
            limit_bytes / 1e9,
            features.block_count,
        )
    return features


def _weighted(
    images: Sequence[ImageRecord], count: int, folds: tuple[Fold, ...]
) -> tuple[tuple[Fold, ...], NDArray[np.float64] | None]:
    """`folds` less the training images of weight 0, and what each image counts; the first `count` may train."""
    trains, weights = training_weights(images, count)
    if trains.all():
        return folds, weights
    kept = tuple(Fold(f.train[trains[f.train]], f.val) for f in folds)
    if not all(len(f.train) for f in kept):
        raise DataError(
            "data.folds: all images with a weight above 0 are in one fold, so that its head has none to train on. Take "
            "fewer folds, or mend the weights."
        )
    return kept, weights


def _cut(images: Sequence[ImageRecord], labels: Indices, folds: int, classes: Sequence[str]) -> tuple[Fold, ...]:
    require_folds(images, classes, folds)  # again: files that cannot be read are no longer among them
    families = family_names(images)
    with warnings.catch_warnings():  # of classes with fewer images than folds: `require_folds` says so in our words
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        if len(set(families)) < len(families):  # a relative in the other fold would give the answer away
            cut = list(StratifiedGroupKFold(folds, shuffle=True, random_state=0).split(labels, labels, families))
        else:
            cut = list(StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels))
    if not all(len(val) for _, val in cut):
        raise DataError(
            f"data.folds: {counted(len(set(families)), 'group')} of very different sizes cannot be dealt to {folds} "
            "folds so that each has images. Take fewer folds."
        )
    return tuple(Fold(np.sort(train), np.sort(val)) for train, val in cut)
