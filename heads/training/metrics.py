"""The metrics of classification, one entry for each: logits and labels in, a value for every image out.

Most are means of what each image gives by itself. Those of a whole split (`whole`) give each image's part in them
instead, so that means, spreads and resamples are taken of them in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, recall_score
from torch import Tensor
from torch.nn.functional import cross_entropy

from featcache.errors import PluginError
from featcache.options import METRIC_PLUGINS
from featcache.plugins import package_code, with_plugins
from heads.training.split_metric_parts import PARTS
from heads.training.whole_split_metrics import aurocs, balanced_accuracies, macro_f1s

TOP_K = 3


@dataclass(frozen=True)
class Metric:
    """One metric: the mean over images of what `of` gives.

    It stands in metrics.csv as `val_<name>`, in summary.json with its interval, in leaderboard.csv for val and test,
    and can choose the best epoch as `training.selection_metric`. A `whole` one must see all images of a split at once:
    `of` takes logits `[.., N, C]` and labels `[.., N]` of them, and gives values whose mean is the metric and whose
    spread is its spread (heads/training/whole_split_metrics.py). Heads on cached features compute it after every epoch
    only where it chooses the epoch.
    """

    name: str
    title: str  # in tables and sentences
    of: Callable[[Tensor, Tensor], Tensor]  # logits [.., C] and labels [..], on any device, to a value each [..]
    meaning: str  # a line: what it says, in which unit
    larger_is_better: bool = True
    whole: bool = False  # of a whole split: no image has it by itself
    limits: tuple[float, float] = (-math.inf, math.inf)  # that its interval does not pass

    def values(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What `of` gives; raises PluginError where a package's metric fails or gives something else."""
        if METRICS.get(self.name) is self:
            return self.of(logits, labels)
        with package_code(f"metric {self.name!r}"):
            found = self.of(logits, labels)
        if not isinstance(found, Tensor) or found.shape != labels.shape:
            got = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(
                f"the metric {self.name!r} of an installed package gave {got}; expected a tensor {list(labels.shape)}, "
                "a value for each image. Mend or uninstall the package."
            )
        if bool((~found.isfinite() & logits.isfinite().all(dim=-1)).any()):
            raise PluginError(
                f"the metric {self.name!r} of an installed package gave a value that is not finite for finite logits. "
                "Mend or uninstall the package."
            )
        return found


def in_top_k(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the label is among the `k` largest logits `[.., C]`, k capped by C, and none is NaN; bool `[..]`."""
    k = min(k, logits.shape[-1])
    within = (logits.topk(k, dim=-1).indices == labels[..., None]).any(dim=-1)
    return within & ~logits.isnan().any(dim=-1)


def cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of logits `[.., C]` with each label `[..]`, in nats."""
    return cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)


_BUILT_IN = (
    Metric("top1", "top-1", lambda x, y: in_top_k(x, y, 1), "share of images right", limits=(0, 1)),
    Metric(
        "top3",
        "top-3",
        lambda x, y: in_top_k(x, y, TOP_K),
        "share of images with the label among the first three",
        limits=(0, 1),
    ),
    Metric(
        "loss",
        "loss",
        cross_entropies,
        "log loss (cross-entropy), in nats",
        larger_is_better=False,
        limits=(0, math.inf),
    ),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        balanced_accuracies,
        "mean over classes of the share of their images that are right",
        whole=True,
        limits=(0, 1),
    ),
    Metric("macro_f1", "macro-F1", macro_f1s, "mean over classes of F1", whole=True, limits=(0, 1)),
    Metric(
        "auroc",
        "AUROC",
        aurocs,
        "area under the ROC curve of each class against the rest, mean over classes",
        whole=True,
        limits=(0, 1),
    ),
)
METRICS = {one.name: one for one in _BUILT_IN}


def metrics() -> dict[str, Metric]:
    """Every metric by name: the built-in ones, then those that installed packages bring."""
    return with_plugins(METRIC_PLUGINS, METRICS, Metric)


def image_metrics() -> dict[str, Metric]:
    """Those that each image has by itself."""
    return {name: one for name, one in metrics().items() if not one.whole}


def find_metric(selection: str) -> Metric:
    """The metric that a `training.selection_metric` such as `val_top1` means."""
    name = selection.removeprefix("val_")
    return METRICS[name] if name in METRICS else metrics()[name]  # plug-ins are looked up for their own names only


@dataclass(frozen=True)
class ImageOutcomes:
    """What one head gives on one split, image by image: enough for every figure."""

    values: Mapping[str, NDArray[np.float64]]  # of each metric [N]
    parts: Mapping[str, NDArray[np.float64]]  # [N]: what each image adds, of those in PARTS
    predicted: NDArray[np.int64]  # [N]

    def mean(self, metric: str) -> float:
        """A metric over the whole split."""
        return float(self.values[metric].mean())


def outcome(logits: Tensor, labels: Tensor) -> ImageOutcomes:
    """Every metric of logits `[N, C]` against labels `[N]`, and the predicted classes."""
    values = _Values({name: one.values for name, one in metrics().items()}, logits, labels)
    return ImageOutcomes(values, _Values(PARTS, logits, labels), logits.argmax(dim=-1).cpu().numpy())


class _Values(Mapping[str, NDArray[np.float64]]):
    """The values of each metric `[N]`, computed when they are asked for: some take long on many images."""

    def __init__(self, of: Mapping[str, Callable[[Tensor, Tensor], Tensor]], logits: Tensor, labels: Tensor) -> None:
        self._of, self._logits, self._labels = of, logits, labels
        self._known: dict[str, NDArray[np.float64]] = {}

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        if name not in self._known:
            found = self._of[name](self._logits, self._labels)
            self._known[name] = found.double().cpu().numpy()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)


def per_class(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Recall and number of images of each class; the recall of one without images is None."""
    recall = recall_score(y, predicted, labels=range(len(classes)), average=None, zero_division=0)
    counts = np.bincount(y, minlength=len(classes)).tolist()
    return [
        {"class": c, "recall": float(r) if n else None, "n": n} for c, r, n in zip(classes, recall, counts, strict=True)
    ]


def confusion(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> list[list[int]]:
    """Counts `[true][predicted]`."""
    matrix: list[list[int]] = confusion_matrix(y, predicted, labels=range(classes)).tolist()
    return matrix
