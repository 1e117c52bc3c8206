"""What each image adds to a metric of a whole split, for comparing runs: the only image of a class must count in it.

What an image moves a metric by (whole_split_metrics.py) is measured from the mean of its class, so the only image of a
class moves nothing, whichever run has it right; a difference between two runs would rest on that image and seem sure.
Here an image adds what it adds, and where two runs answer it alike it tells nothing of them: which of both gave which
answer could as well be the other way round (McNemar 1947).

Each function takes the logits `[S, N, C]` of every run on the same images, and their labels `[N]`, and gives float64
`[N]` for each run, means over its seeds. Only differences between runs say anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from heads.training.whole_split_metrics import auroc_placements, class_counts, predicted_classes

Parts = Callable[[Sequence[Tensor], Tensor], list[Tensor]]


def balanced_accuracy_parts(runs: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """N / (classes x images of the class) where the image is right: the mean over images is the metric."""
    n = class_counts(labels, runs[0].shape[-1])
    weight = len(labels) / ((n > 0).sum() * n[labels])
    return [((predicted_classes(logits) == labels).double() * weight).mean(dim=0) for logits in runs]


def macro_f1_parts(runs: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """F1 = 2 TP / (images + predictions), linearised in a run's answers where it is for all runs in the mean."""
    classes = runs[0].shape[-1]
    n = class_counts(labels, classes)
    answers = [predicted_classes(logits) for logits in runs]
    every = torch.cat(answers)
    hits = class_counts(every[every == labels], classes) / len(every)
    both = (n + class_counts(every[every >= 0], classes) / len(every)).clamp(min=1e-9)
    f1 = torch.where(n > 0, 2 * hits / both, 0.0)
    scale = len(labels) / (n > 0).sum()
    found = []
    for predicted in answers:
        right, taken = (predicted == labels).double(), predicted.clamp(min=0)
        wrongly = (f1 / both)[taken] * (predicted >= 0)
        found.append((scale * (2 * right / both[labels] - wrongly)).mean(dim=0))
    return found


def auroc_parts(runs: Sequence[Tensor], labels: Tensor) -> list[Tensor]:
    """The placements of each image among those that are of its class or not (DeLong et al. 1988), whose variance is
    that of a difference if there is none."""
    return [_placements(logits, labels).mean(dim=0) for logits in runs]


def _placements(logits: Tensor, labels: Tensor) -> Tensor:
    scores = logits.double().log_softmax(dim=-1).nan_to_num(nan=-torch.inf)
    every = labels.expand(logits.shape[:-1])
    total = torch.zeros(every.shape, dtype=torch.float64)
    counted = 0
    for c in range(logits.shape[-1]):
        positive = every == c
        positives = int((labels == c).sum())
        if not 0 < positives < len(labels):
            continue
        beaten, beating = auroc_placements(scores[..., c].contiguous(), positive)
        total += torch.where(positive, beaten / positives, beating / (len(labels) - positives))
        counted += 1
    return total * (len(labels) / max(counted, 1))


# Of the metrics that need them.
PARTS: dict[str, Parts] = {
    "balanced_accuracy": balanced_accuracy_parts,
    "macro_f1": macro_f1_parts,
    "auroc": auroc_parts,
}
