"""What each image adds to a metric of a whole split: parts that hold nothing of the images that are looked at apart.

What an image moves a metric by (whole_split_metrics.py) is measured from the mean of its class, so it holds that mean:
taken away with it, the other images still say how it was answered, and the only image of a class moves nothing,
whichever head has it right. A choice that is made again without some images would know them all the same, and a
difference between two heads would rest on one image and seem sure. Here an image has what it adds by being right (or
by what it beats) for itself alone; only what it does to other classes is measured from the mean.

Each function takes logits `[.., N, C]` and labels `[.., N]` of one whole split, and gives float64 `[.., N]`, whose mean
is the metric, exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heads.training.whole_split_metrics import auroc_placements, class_counts, predicted_classes

Parts = Callable[[Tensor, Tensor], Tensor]


def balanced_accuracy_parts(logits: Tensor, labels: Tensor) -> Tensor:
    """N / (classes x images of the class) where the image is right."""
    n = class_counts(labels, logits.shape[-1])
    present = (n > 0).sum(dim=-1, keepdim=True)
    right = (predicted_classes(logits) == labels).double()
    return right * labels.shape[-1] / (present * n.gather(-1, labels))


def macro_f1_parts(logits: Tensor, labels: Tensor) -> Tensor:
    """Of F1 = 2 TP / (images + predictions) the hits of an image's own class; the predictions are linearised, those of
    the class measured from the mean of its images, wrong ones from that of all others."""
    classes, images = logits.shape[-1], labels.shape[-1]
    predicted = predicted_classes(logits)
    right, known, taken = (predicted == labels).double(), predicted >= 0, predicted.clamp(min=0)
    n = class_counts(labels, classes)
    hits = class_counts(labels, classes, right)
    both = n + class_counts(taken, classes, known.double())
    cost = 2 * hits * (n > 0) / both.clamp(min=1) ** 2  # of one more prediction of a class
    by_class = cost * (both - n - hits) / (images - n).clamp(min=1)  # of wrong ones, for the mean of the others
    wrong = cost.gather(-1, taken) * (known & (predicted != labels))
    wrong -= by_class.sum(dim=-1, keepdim=True) - by_class.gather(-1, labels)
    own = cost.gather(-1, labels) * (right - (hits / n.clamp(min=1)).gather(-1, labels))
    present = (n > 0).sum(dim=-1, keepdim=True)
    return images / present * (2 * right / both.gather(-1, labels) - own - wrong)


def auroc_parts(logits: Tensor, labels: Tensor) -> Tensor:
    """The share of other images that an image beats as one of its class (a placement, DeLong et al. 1988); as one of
    the others the share of a class that beats it, measured from the mean."""
    scores = logits.double().log_softmax(dim=-1).nan_to_num(nan=-torch.inf)
    total = torch.zeros(labels.shape, dtype=torch.float64, device=labels.device)
    counted = torch.zeros_like(total[..., :1])
    for c in range(logits.shape[-1]):
        positive = labels == c
        beaten, beating = auroc_placements(scores[..., c].contiguous(), positive)
        positives = positive.sum(dim=-1, keepdim=True)
        negatives = labels.shape[-1] - positives
        area = torch.where(positive, beaten, 0.0).sum(dim=-1, keepdim=True) / positives.clamp(min=1)
        judged = (positives > 0) & (negatives > 0)
        part = torch.where(positive, beaten / positives.clamp(min=1), (beating - area) / negatives.clamp(min=1))
        total += torch.where(judged, part, 0.0)
        counted += judged
    return torch.where(counted > 0, total * labels.shape[-1] / counted.clamp(min=1), 0.5)


# Of the metrics that have them.
PARTS: dict[str, Parts] = {
    "balanced_accuracy": balanced_accuracy_parts,
    "macro_f1": macro_f1_parts,
    "auroc": auroc_parts,
}


def macro_f1_of(
    answers: NDArray[np.signedinteger], labels: NDArray[np.int64], part: NDArray[np.int64], parts: int
) -> NDArray[np.float64]:
    """Macro-F1 `[R, parts]` of the images outside each part, over the classes that they have; `answers` `[R, N]` are
    the classes that images of `labels` `[N]` were taken for (-1: none), `part` `[N]` their parts (`parts`: in none)."""
    classes = 1 + int(max(answers.max(), labels.max()))
    seat = (np.arange(len(answers))[:, None] * (parts + 1) + part) * classes

    def counted(taken: NDArray[np.bool_], of: NDArray[np.signedinteger]) -> NDArray[np.float64]:
        shape = (len(taken), parts + 1, classes)
        counts = np.bincount((seat[: len(taken)] + of)[taken], minlength=int(np.prod(shape))).reshape(shape)
        outside: NDArray[np.float64] = (counts.sum(axis=1, keepdims=True) - counts)[:, :parts].astype(np.float64)
        return outside

    n = counted(np.ones_like(answers[:1], np.bool_), labels)[0]
    both = n + counted(answers >= 0, answers)
    f1 = 2 * counted(answers == labels, labels) * (n > 0) / np.maximum(both, 1)
    found: NDArray[np.float64] = f1.sum(axis=-1) / np.maximum((n > 0).sum(axis=-1), 1)
    return found


OfAnswers = Callable[[NDArray[np.signedinteger], NDArray[np.int64], NDArray[np.int64], int], NDArray[np.float64]]

# Of those, the ones that are no sum over images: computed of the answers to all of them.
ANSWERED: dict[str, OfAnswers] = {"macro_f1": macro_f1_of}
