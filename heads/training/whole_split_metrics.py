"""Metrics that no single image has: of a whole split, with the value each image adds to them and to their spread.

Each function takes logits `[.., N, C]` and labels `[.., N]` of one whole split and gives float64 `[.., N]`: the metric
plus N times the image's influence on it (the infinitesimal jackknife, Efron 1982, chapter 6; for AUROC the placements
of DeLong et al. 1988). Their mean is the metric, exactly, and their spread is the metric's to first order: they can be
resampled as means of images are. Classes without an image in the split play no part, but an image that is
taken for one of them is wrong. An image with a NaN logit is wrong, and comes last.
"""

from __future__ import annotations

import torch
from torch import Tensor


def balanced_accuracies(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over classes of the share of their images that are right (Brodersen et al. 2010)."""
    classes, right = logits.shape[-1], predicted_classes(logits) == labels
    n = class_counts(labels, classes)
    present = (n > 0).sum(dim=-1, keepdim=True)
    recall = class_counts(labels, classes, right.double()) / n.clamp(min=1)
    images = labels.shape[-1]
    mean = recall.sum(dim=-1, keepdim=True) / present
    return mean + images / (present * n.gather(-1, labels)) * (right.double() - recall.gather(-1, labels))


def macro_f1s(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over classes of F1 = 2 TP / (images + predictions), a ratio of two means over images, linearised."""
    classes, predicted = logits.shape[-1], predicted_classes(logits)
    right, known = (predicted == labels).double(), predicted >= 0
    taken = predicted.clamp(min=0)
    n = class_counts(labels, classes)
    both = n + class_counts(taken, classes, known.double())
    images = labels.shape[-1]
    f1 = 2 * class_counts(labels, classes, right) / both.clamp(min=1)
    present = (n > 0).sum(dim=-1, keepdim=True)
    # Of class c: what an image adds to twice the hits less F1 times what it adds to images and predictions.
    own = (2 * right - f1.gather(-1, labels)) / both.gather(-1, labels)
    other = f1 * (n > 0) / both.clamp(min=1)
    return f1.sum(dim=-1, keepdim=True) / present + images / present * (own - other.gather(-1, taken) * known)


def aurocs(logits: Tensor, labels: Tensor) -> Tensor:
    """The area under the ROC curve of each class against the rest by its probability, ties counted half; the mean over
    the classes that have images in the split and are not alone there, and 0.5 where there is none."""
    scores = logits.double().log_softmax(dim=-1).nan_to_num(nan=-torch.inf)
    total = torch.zeros(labels.shape, dtype=torch.float64, device=labels.device)
    counted = torch.zeros_like(total[..., :1])
    for c in range(logits.shape[-1]):
        values, judged = _auroc(scores[..., c].contiguous(), labels == c)
        total += torch.where(judged, values, 0.0)
        counted += judged
    return torch.where(counted > 0, total / counted.clamp(min=1), 0.5)


def _auroc(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """One class against the rest: the values `[.., N]`, and whether there are images of both sorts `[.., 1]`."""
    beaten, beating = auroc_placements(scores, positive)
    positives = positive.sum(dim=-1, keepdim=True)
    negatives = positive.shape[-1] - positives
    own = torch.where(positive, beaten, beating)
    area = torch.where(positive, beaten, 0.0).sum(dim=-1, keepdim=True) / positives.clamp(min=1)
    share = positive.shape[-1] / torch.where(positive, positives, negatives).clamp(min=1)
    return area + share * (own - area), (positives > 0) & (negatives > 0)


def auroc_placements(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """By scores `[.., N]`: of each image as a positive one the share of the others that it beats, and as one of the
    others the share of positive ones that beat it; ties count half."""
    ordered, order = scores.sort(dim=-1)
    low = torch.searchsorted(ordered, scores)
    high = torch.searchsorted(ordered, scores, right=True)
    # How many of the positive images stand before each place of the order.
    before = torch.nn.functional.pad(positive.gather(-1, order).cumsum(dim=-1), (1, 0))
    below_low, below_high = before.gather(-1, low), before.gather(-1, high)
    positives = positive.sum(dim=-1, keepdim=True)
    negatives = positive.shape[-1] - positives
    beaten = ((low - below_low) + (high - below_high)).double() / (2 * negatives).clamp(min=1)  # of the rest
    beating = 1 - (below_low + below_high).double() / (2 * positives).clamp(min=1)  # of the positives
    return beaten, beating


def predicted_classes(logits: Tensor) -> Tensor:
    """The class of the largest logit `[.., N]`; -1 where one is NaN."""
    return torch.where(logits.isnan().any(dim=-1), -1, logits.argmax(dim=-1))


def class_dtype(classes: int) -> torch.dtype:
    """The smallest integers that hold these classes, and -1 for none."""
    sizes = (torch.int8, torch.int16, torch.int32)
    return next(size for size in sizes if classes <= torch.iinfo(size).max)


def class_counts(labels: Tensor, classes: int, values: Tensor | None = None) -> Tensor:
    """Of each class how many images, or the sum of their values, float64 `[.., C]`; whole numbers, so exact."""
    values = torch.ones_like(labels, dtype=torch.float64) if values is None else values
    empty = torch.zeros(*labels.shape[:-1], classes, dtype=torch.float64, device=labels.device)
    return empty.scatter_add_(-1, labels, values)
