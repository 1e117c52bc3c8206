"""Where a run's training images lie in feature space: the nearest of them, and what lies far from all.

Source: Sun, Ming, Zhu, Li 2022, "Out-of-distribution detection with deep nearest neighbors": the distance to the k-th
nearest training image, of features scaled to unit length. Here k is 1, since a class may have three images. What is far
is said by the validation images: of one that is like them, the share that is at least as far is uniform (a conformal
p-value: Vovk et al. 2005), so a rule that flags shares of at most 5% flags at most 5% of such images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

AT_ONCE = 512  # images


@dataclass(frozen=True, eq=False)
class TrainingSpace:
    """Features `[N, F]` of training images, scaled to unit length, on the device that distances are computed on.

    `names`, `labels` and `sha256` are those of the training images; `val` `[V, F]` and `val_sha256` are of images that
    the head was not trained on, or with folds of the same images, which never count as their own neighbours.
    """

    train: Tensor
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    sha256: tuple[str, ...]
    val: Tensor
    val_sha256: tuple[str, ...]

    @classmethod
    def of(
        cls,
        train: NDArray[np.float32],
        labels: NDArray[np.int64],
        named: tuple[tuple[str, ...], tuple[str, ...]],
        val: NDArray[np.float32],
        val_sha256: tuple[str, ...],
        device: torch.device,
    ) -> TrainingSpace:
        """The space of features as they are; `named` are the names and the content hashes of the training images."""
        unit = [normalize(torch.from_numpy(x).to(device), dim=1) for x in (train, val)]
        return cls(unit[0], labels, *named, unit[1], val_sha256)

    def shares_as_far(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """For each image `[n, F]` the share of validation images (itself added) at least as far from training ones."""
        distances = self.distances(features)
        farther = len(self._val_distances) - np.searchsorted(self._val_distances, distances, side="left")
        shares: NDArray[np.float64] = (farther + 1) / (len(self._val_distances) + 1)
        return shares

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """To the nearest training image, of features `[n, F]` scaled to unit length: 0 (the same direction) to 2."""
        return _distance(self._similar(features, 1).values[:, 0])

    def nearest(self, features: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest training images `[n, count]` of each, by their places, nearest first, and how far they are."""
        found = self._similar(features, min(count, len(self.train)))
        return found.indices.cpu().numpy(), _distance(found.values)

    @property
    def least_rate(self) -> float:
        """The smallest rate of false alarms that so few validation images can vouch for."""
        return 1 / (len(self.val) + 1)

    @cached_property
    def _val_distances(self) -> NDArray[np.float64]:
        """Of the validation images, sorted; equal contents are no neighbours of each other."""
        place = {sha256: i for i, sha256 in enumerate(self.sha256)}
        own = torch.tensor([place.get(sha256, -1) for sha256 in self.val_sha256], device=self.train.device)
        nearest = []
        for start in range(0, len(self.val), AT_ONCE):
            similar = self.val[start : start + AT_ONCE] @ self.train.T
            mine = own[start : start + AT_ONCE]
            rows = torch.nonzero(mine >= 0)[:, 0]
            similar[rows, mine[rows]] = -1.0
            nearest.append(similar.amax(dim=1))
        return np.sort(_distance(torch.cat(nearest)))

    def _similar(self, features: NDArray[np.float32], k: int) -> torch.return_types.topk:
        unit = normalize(torch.from_numpy(features).to(self.train.device), dim=1)
        return (unit @ self.train.T).topk(k, dim=1)


def _distance(cosine: Tensor) -> NDArray[np.float64]:
    """Between unit vectors, by the cosine of their angle."""
    return (2 - 2 * cosine.double().cpu()).clamp(min=0).sqrt().numpy()
