"""Growing subsets of the training images: so many of each class, then halves up to all; nested within a draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.records import ImageRecord
from featcache.relatives import family_names

SHOTS = (1, 2, 4, 8, 16, 32)  # images of each class; the first five are those of the few-shot literature
DRAWS = 3  # as CoOp has them (Zhou et al. 2022)

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Size:
    """One size of a curve."""

    name: str  # "4 per class", "1/8", "all"
    shots: int | None  # images of each class, of the first sizes
    targets: tuple[int, ...]  # images of each class that are wanted, as far as there are so many


def curve_sizes(labels: Indices, classes: int) -> tuple[Size, ...]:
    """The sizes of a curve over images with these labels, the smallest first and all of them last.

    Shares are of each class alike, and at least what the sizes before have of it, so that subsets can be nested.
    """
    there = np.bincount(labels, minlength=classes)
    most = int(there.max())
    sizes = [Size(f"{k} per class", k, tuple(np.minimum(k, there).tolist())) for k in SHOTS if k < most]
    counts = np.array(sizes[-1].targets if sizes else there)
    floor = int(counts.sum())
    halvings = 0
    while there.sum() / 2 ** (halvings + 1) > floor and sizes:
        halvings += 1
    for halving in range(halvings, -1, -1):
        counts = np.maximum(counts, np.ceil(there / 2**halving).astype(np.int64))
        sizes.append(Size(f"1/{2**halving}" if halving else "all", None, tuple(counts.tolist())))
    return tuple(sizes)


def nested_subsets(images: Sequence[ImageRecord], sizes: Sequence[Size], draw: int) -> list[Indices]:
    """Of each size the places `[n]` of its images, in order: each subset holds those before it.

    Relatives (equal files, groups) are taken whole, so that a class may have more than its target. Which images are
    taken follows from the images and the number of the draw alone: it is the same for every backbone.
    """
    labels = np.array([image.label for image in images])
    names, family = np.unique(np.array(family_names(images)), return_inverse=True)
    by_family = np.argsort(family, kind="stable")
    members = np.split(by_family, np.cumsum(np.bincount(family))[:-1])
    order = np.random.default_rng([draw, len(names)]).permutation(len(names))
    taken = np.zeros(len(images), np.bool_)
    counts = np.zeros(len(sizes[0].targets), np.int64)
    left = order.tolist()
    subsets = []
    for size in sizes:
        targets, rest = np.array(size.targets), []
        for one in left:
            own = labels[members[one]]
            if (counts[own] < targets[own]).any():
                taken[members[one]] = True
                counts += np.bincount(own, minlength=len(counts))
            else:
                rest.append(one)
        left = rest
        subsets.append(np.flatnonzero(taken))
    return subsets


def tell_apart(sizes: Sequence[Size], draws: Sequence[Sequence[Indices]]) -> list[int]:
    """The places of the sizes that add images in some draw: of those that hold the same images in all draws, which
    groups that are taken whole make, the last stays, as the last of all sizes always does."""
    return [
        at for at in range(len(sizes)) if at == len(sizes) - 1 or any(len(own[at]) < len(own[at + 1]) for own in draws)
    ]
