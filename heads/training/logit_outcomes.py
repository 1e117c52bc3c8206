"""What one head gave on its validation images in one epoch, from its logits on all of them at once."""

from __future__ import annotations

import torch
from torch import Tensor

from heads.training.epoch_outcomes import TOPS, Seen
from heads.training.metrics import find_metric
from heads.training.split_metric_parts import PARTS
from heads.training.whole_split_metrics import class_dtype, predicted_classes


def outcomes_of_logits(logits: Tensor, labels: Tensor, selection: str) -> Seen:
    """Of logits `[V, C]` and labels `[V]` on the CPU what a stack keeps of each of its heads (val_buffer.py);
    `selection` is what chooses the epoch, such as `val_top1`."""
    metric, selected = find_metric(selection), None
    if metric.name not in TOPS:
        selected = PARTS.get(metric.name, metric.values)(logits, labels).float().numpy()
    return Seen(
        torch.stack([find_metric(name).values(logits, labels).bool() for name in TOPS]).numpy(),
        find_metric("loss").values(logits, labels).float().numpy(),
        predicted_classes(logits).to(class_dtype(logits.shape[-1])).numpy(),
        selected if selected is None or metric.larger_is_better else -selected,
    )
