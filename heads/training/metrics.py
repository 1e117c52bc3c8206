"""Figures of classification from logits and labels, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, recall_score
from torch import Tensor
from torch.nn.functional import cross_entropy

TOP_K = 3


@dataclass(frozen=True)
class ImageOutcomes:
    """What one head gives on one split, image by image: enough for every figure."""

    loss: NDArray[np.float64]  # cross-entropy [N]
    top1: NDArray[np.float64]  # 1.0 where right [N]
    top3: NDArray[np.float64]  # 1.0 where the label is among the TOP_K largest logits [N]
    predicted: NDArray[np.int64]  # [N]


def in_top_k(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the `k` largest logits `[.., C]`, k capped by C; bool `[..]`."""
    k = min(k, logits.shape[-1])
    return (logits.topk(k, dim=-1).indices == labels[..., None]).any(dim=-1)


def outcome(logits: Tensor, labels: Tensor) -> ImageOutcomes:
    """The figures of logits `[N, C]` against labels `[N]`."""
    return ImageOutcomes(
        loss=cross_entropy(logits, labels, reduction="none").double().cpu().numpy(),
        top1=in_top_k(logits, labels, 1).double().cpu().numpy(),
        top3=in_top_k(logits, labels, TOP_K).double().cpu().numpy(),
        predicted=logits.argmax(dim=-1).cpu().numpy(),
    )


def per_class(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Recall and number of images of each class."""
    recall = recall_score(y, predicted, labels=range(len(classes)), average=None, zero_division=0)
    return [
        {"class": c, "recall": float(r), "n": int((y == i).sum())}
        for i, (c, r) in enumerate(zip(classes, recall, strict=True))
    ]


def confusion(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> list[list[int]]:
    """Counts `[true][predicted]`."""
    matrix: list[list[int]] = confusion_matrix(y, predicted, labels=range(classes)).tolist()
    return matrix
