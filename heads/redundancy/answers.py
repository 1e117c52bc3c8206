"""What the heads of several finished runs answer on the same validation images."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from heads.runs import Predictions, Run, predictions_of

log = logging.getLogger("featcache")

Probabilities = NDArray[np.float32]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What K runs answer on the same N images, best first."""

    runs: tuple[str, ...]
    predicted: NDArray[np.int64]  # [K, N], by the mean of each run's seeds
    probabilities: Mapping[str, Probabilities]  # of the classes `[S, N, C]`, S seeds, of the runs that they are kept of
    labels: NDArray[np.int64]  # [N]
    images: tuple[str, ...]  # their names
    units: tuple[str, ...]  # the same for images that are not independent of each other
    contents: tuple[str, ...] | None = None  # their sha256; None of runs of an earlier version

    def right(self, probabilities: Probabilities) -> Flags:
        """Which images `[..., N]` probabilities `[..., N, C]` get right."""
        found: Flags = probabilities.argmax(axis=-1) == self.labels
        return found


def answers_of(runs: Sequence[Run], keep: Collection[str]) -> Answers | None:
    """Those of the `runs` that answered the same images as the first of them that can be read; None where none can.
    Probabilities are kept of those named in `keep`: they take memory."""
    names: list[str] = []
    predicted: list[NDArray[np.int64]] = []
    probabilities: dict[str, Probabilities] = {}
    first: Predictions | None = None
    for run in runs:
        name, seen = run.folder.name, predictions_of(run.folder, "val")
        first = first or seen
        if seen is None or first is None or seen.keys != first.keys:
            log.info("%s: its answers are not on the same images as others', or cannot be read", name)
            continue
        own = softmax(seen.logits.astype(np.float32), axis=-1)
        names.append(name)
        predicted.append(own.mean(axis=0).argmax(axis=-1))
        if name in keep:
            probabilities[name] = own
    if first is None:
        return None
    of_all = first.labels, first.images, first.units, first.contents
    return Answers(tuple(names), np.stack(predicted), probabilities, *of_all)
