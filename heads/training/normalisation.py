"""Features as a head is given them: each over its spread on the training images, or each image by itself.

A head trains on normalised features, and is kept as a head of plain ones: what was fitted goes into its first layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import nn

from featcache.backbones import IMAGE_NORMALISATIONS
from featcache.options import Normalise
from heads.training.feature_fit import Fit
from heads.training.features import Block, Features
from heads.training.head_spec import HeadSpec
from heads.training.trained_head import TrainedHead

PIECE = 4096  # rows that are looked at or normalised at once, in float64
# Of a feature's mean: what spreads less is constant, and in float32 what is left of it without its mean is rounding.
CONSTANT = 1e-5
FITTED = ("standard", "scale")


def fit_features(features: Features, normalise: Normalise, fold: int) -> Fit | None:
    """What `normalise` needs to know of the training images of a fold, every view of them; None where that is nothing.

    A feature that is constant there is taken over what others spread by, as it says nothing and must not get loud.
    """
    if normalise not in FITTED:
        return None
    if (normalise, fold) not in features.fits:
        features.fits[normalise, fold] = _fit(features, normalise, fold)
    return features.fits[normalise, fold]


def features_rms(features: Features) -> float:
    """Root mean square of the features in the first block, which is all of them or, where they do not fit the memory,
    a share of neighbours drawn anew."""
    x = next(iter(features.blocks(0))).x
    squares = sum(float(piece.cpu().double().square().sum()) for piece in x.split(PIECE))
    return float(np.sqrt(squares / x.numel()))


def _fit(features: Features, normalise: Normalise, fold: int) -> Fit:
    moments = StandardScaler()  # float64, and one pass over the rows: Chan, Golub and LeVeque 1983
    for rows in _training_rows(features, fold):
        moments.partial_fit(rows)
    mean, variance = np.atleast_1d(moments.mean_), np.atleast_1d(moments.var_)
    if normalise == "scale":
        size = float(np.sqrt(np.mean(variance + mean**2)))
        return Fit(np.zeros_like(mean), np.full_like(mean, size if size > 0 else 1.0))
    spread = np.sqrt(variance)
    constant = spread <= CONSTANT * np.abs(mean)
    usual = float(np.sqrt(variance[~constant].mean())) if not constant.all() else 1.0
    return Fit(mean, np.where(constant, usual, spread))


def _training_rows(features: Features, fold: int) -> Iterator[NDArray[np.float64]]:
    """The rows of a fold's training images, all views of each."""
    for block in features.blocks(0):
        wanted = np.repeat(np.isin(block.images, features.folds[fold].train), features.views[block.images])
        places = np.flatnonzero(wanted)
        for start in range(0, len(places), PIECE):
            piece = torch.from_numpy(places[start : start + PIECE]).to(block.x.device)
            yield block.x[piece].cpu().double().numpy()


class NormalisedBlocks:
    """The blocks of an epoch with their features as some heads are given them, and those heads as they are kept."""

    def __init__(self, features: Features, head: HeadSpec) -> None:
        self._features, self._width = features, head.dims[0]
        self._fit = fit_features(features, head.normalise, head.fold)
        self._front: nn.Module | None = None
        if self._fit is not None:
            self._front = self._fit.module(features.device)
        elif head.normalise in IMAGE_NORMALISATIONS:
            self._front = IMAGE_NORMALISATIONS[head.normalise](self._width)
        self._whole: Block | None = None

    def __call__(self, epoch: int) -> Iterator[Block]:
        """What `Features.blocks` gives, normalised once where that is one block."""
        if self._front is None:
            yield from self._features.blocks(epoch)
        elif self._features.block_count > 1:
            yield from map(self._normalised, self._features.blocks(epoch))
        else:
            self._whole = self._whole or self._normalised(next(iter(self._features.blocks(epoch))))
            yield self._whole

    def keep(self, head: TrainedHead) -> None:
        """Make a trained head one of features as they are stored."""
        if self._fit is not None and head.state:
            head.state = self._fit.folded(head.state)

    @torch.no_grad()
    def _normalised(self, block: Block) -> Block:
        assert self._front is not None
        x = torch.empty_like(block.x)
        for piece, to in zip(block.x.split(PIECE), x.split(PIECE), strict=True):
            to.copy_(self._front(piece))
        return replace(block, x=x)
