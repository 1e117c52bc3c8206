"""What images count in the loss of training: the weights that a source gives, checked and said."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.counted_nouns import counted
from featcache.data.class_names import few
from featcache.errors import DataError
from featcache.records import ImageRecord, digest


def relative_weights(images: Sequence[ImageRecord]) -> NDArray[np.float64] | None:
    """What each image counts `[N]`, the heaviest 1; None where all count the same: then nothing is weighted."""
    weights = np.array([i.weight for i in images], np.float64)
    if len(weights) == 0 or (weights == weights[0]).all():
        return None
    found: NDArray[np.float64] = weights / weights.max()
    return found


def weights_digest(images: Sequence[ImageRecord]) -> str | None:
    """What tells trainings of these images by other weights apart; None where all count the same."""
    return None if relative_weights(images) is None else digest([[i.sha256, i.weight] for i in images])


def require_weights(images: Sequence[ImageRecord]) -> None:
    """Raise DataError for a weight that is none: a source of a package may give anything."""
    wrong = next((i for i in images if not 0 <= i.weight < math.inf), None)
    if wrong is not None:
        raise DataError(
            f"data.path: {wrong.name} has the weight {wrong.weight}. Expected a finite number of 0 or more: mend the "
            "source."
        )


def weights_said(images: Sequence[ImageRecord], classes: Sequence[str]) -> list[str]:
    """What to know of the weights of these training images; nothing where they have none.

    Raises DataError where all of the images, or of a class, weigh 0: nothing could learn it.
    """
    if all(i.weight == 1 for i in images):
        return []
    heaviest = [0.0] * len(classes)
    there = {i.label for i in images}
    for image in images:
        heaviest[image.label] = max(heaviest[image.label], image.weight)
    if nothing := [repr(classes[label]) for label in sorted(there) if heaviest[label] == 0]:
        what = "every training image" if len(nothing) == len(there) else f"every training image of {few(nothing, ', ')}"
        raise DataError(
            f"data.path: {what} has the weight 0, which leaves it out of training. Expected some above 0 in each "
            "class: mend the weights, or leave the class out with data.classes."
        )
    weights = [i.weight for i in images]
    line = f"weights: {min(weights):g} to {max(weights):g} on {counted(len(weights), 'training image')}"
    if min(weights) == max(weights):
        return [f"{line}: all the same, so that nothing is weighted"]
    if zero := weights.count(0):
        line += f", {zero} of them 0 and left out of training"
    return [f"{line}; figures on val and test are not weighted"]
