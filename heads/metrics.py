"""Figures of classification from logits and labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, recall_score
from torch import Tensor
from torch.nn.functional import cross_entropy

TOP_K = 3
RESAMPLES = 2000  # of the bootstrap: the 95% interval's ends move by about 1% of its width between seeds


@dataclass(frozen=True)
class Outcome:
    """What one head gives on one split, image by image: enough for every figure."""

    loss: NDArray[np.float64]  # cross-entropy [N]
    top1: NDArray[np.float64]  # 1.0 where right [N]
    top3: NDArray[np.float64]  # 1.0 where the label is among the TOP_K largest logits [N]
    predicted: NDArray[np.int64]  # [N]


def in_top_k(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the `k` largest logits `[.., C]`, k capped by C; bool `[..]`."""
    k = min(k, logits.shape[-1])
    return (logits.topk(k, dim=-1).indices == labels[..., None]).any(dim=-1)


def outcome(logits: Tensor, labels: Tensor) -> Outcome:
    """The figures of logits `[N, C]` against labels `[N]`."""
    return Outcome(
        loss=cross_entropy(logits, labels, reduction="none").double().cpu().numpy(),
        top1=in_top_k(logits, labels, 1).double().cpu().numpy(),
        top3=in_top_k(logits, labels, TOP_K).double().cpu().numpy(),
        predicted=logits.argmax(dim=-1).cpu().numpy(),
    )


def resampled_means(values: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
    """The mean of `values` `[seeds, images]` in each of RESAMPLES draws of seeds and images with replacement.

    The percentile bootstrap (Efron 1979), of both the luck of the seed and that of the images. Every call draws the
    same images, so the difference of two results is that of a paired bootstrap; `stream` is of the seeds' draws, which
    two networks do not share.
    """
    seeds, images = values.shape
    by_seed = np.concatenate([values @ draws.T for draws in np.array_split(_image_draws(images), 20)], axis=1) / images
    chosen = np.random.default_rng([seeds, stream]).multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    means: NDArray[np.float64] = (by_seed.T * chosen).sum(axis=1) / seeds
    return means


@lru_cache(maxsize=4)
def _image_draws(images: int) -> NDArray[np.uint16]:
    """How often each image is drawn, `[RESAMPLES, images]`."""
    rng = np.random.default_rng(images)
    drawn = (np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(RESAMPLES))
    return np.stack([d.astype(np.uint16) for d in drawn])


def interval(means: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of resampled means, or of the difference of two."""
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def summarise(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean, spread over seeds, and the 95% interval of the mean, of `values` `[seeds, images]`."""
    per_seed = values.mean(axis=1)
    seeds, images = values.shape
    return {
        "mean": float(per_seed.mean()),
        "std": float(per_seed.std(ddof=1)) if seeds > 1 else 0.0,
        "ci95": list(interval(resampled_means(values))),
        "n": images,
    }


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
