"""Objectives by name: a trial's figures in, the number that a sampler follows out.

An entry of OBJECTIVES is all there is to an objective; a figure that trials do not have yet is added to
`heads/search/trial_figures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heads.search.trial_figures import Figures


@dataclass(frozen=True)
class Objective:
    """What may be best."""

    meaning: str  # one line: what it is, and its unit
    maximise: bool
    value: Callable[[Figures], float]
    measured: bool = False  # on the device: trials of another device, or batch size, do not compare
    whole: str | None = None  # the metric of the whole split that every epoch has to have for it


def _val_top1(of: Figures) -> float:
    """Of n outcomes with `b` right and a mean loss L: `(b + 1 / (1 + L)) / n`.

    Validation sets are small, so many trials share an accuracy: with four classes top-3 is nearly flat. So ties are
    broken inside the number. What is added is less than one outcome is worth: the order is that of (top-1, loss), of
    `_val_top3` that of (top-3, top-1, loss), as far as a double can tell losses apart; and since the loss moves with
    every change of an option, there is always a slope to follow.
    """
    return (of.val_top1 * of.outcomes + _loss_share(of)) / of.outcomes


def _val_top3(of: Figures) -> float:
    """Of n outcomes with `a` right among the first three, `b` at once: `(a + (b + 1 / (1 + L)) / (n + 1)) / n`."""
    n = of.outcomes
    return (of.val_top3 * n + (of.val_top1 * n + _loss_share(of)) / (n + 1)) / n


def _loss_share(of: Figures) -> float:
    """The lower the loss, the nearer to 1."""
    return 1 / (1 + of.val_loss)


TIES = 1e-6  # what the loss decides between trials that are alike in a metric of the whole split


def _whole(metric: str, meaning: str) -> Objective:
    """The larger the better; what differs by less than a millionth goes to the lower loss."""

    def value(of: Figures) -> float:
        found: float | None = getattr(of, f"val_{metric}")
        assert found is not None
        return found + TIES * _loss_share(of)

    return Objective(f"{meaning} on val; ties broken by loss", maximise=True, value=value, whole=metric)


OBJECTIVES: dict[str, Objective] = {
    "val_top1": Objective("top-1 accuracy on val, a fraction; ties broken by loss", maximise=True, value=_val_top1),
    "val_top3": Objective(
        "top-3 accuracy on val, a fraction; ties broken by top-1, then loss", maximise=True, value=_val_top3
    ),
    "val_balanced_accuracy": _whole("balanced_accuracy", "balanced accuracy"),
    "val_macro_f1": _whole("macro_f1", "macro-F1"),
    "val_auroc": _whole("auroc", "AUROC, mean over classes"),
    "val_loss": Objective("log loss (cross-entropy) on val, nats", maximise=False, value=lambda of: float(of.val_loss)),
    "latency_ms": Objective(
        "one forward pass of the full model, ms", maximise=False, value=lambda of: float(of.latency_ms), measured=True
    ),
    "macs": Objective("multiply-adds of one image", maximise=False, value=lambda of: float(of.macs)),
    "params": Objective("parameters of the full model", maximise=False, value=lambda of: float(of.params)),
}
