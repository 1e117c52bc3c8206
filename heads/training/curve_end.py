"""Whether heads were still getting better when their epochs were over: then they say too little of their features."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from heads.training.trained_head import TrainedHead

FEWEST = 10  # epochs of a curve that anything is said of
PART = 5  # a curve's last fifth is held against the fifth before
FALL = 0.03  # of the loss: noise of 2% between epochs moves the medians of ten by so much in one curve of 100
FALL_NATS = 0.01  # and at least: where nearly every image is right, less is no image more


def still_improving(heads: Sequence[TrainedHead], epochs: int) -> bool:
    """Whether more than half of the heads had all `epochs`, are best in the last fifth of them, and have there a
    validation loss that is clearly below that of the fifth before: by 0.01 nats (medians), and either by 3% or with
    every epoch below every one of those, however slowly it falls."""
    return 2 * sum(_improving(head, epochs) for head in heads) > len(heads)


def _improving(head: TrainedHead, epochs: int) -> bool:
    losses = [row.val_loss for row in head.trained]
    if head.diverged is not None or len(losses) < max(epochs, FEWEST):
        return False
    part = len(losses) // PART
    earlier, last = losses[-2 * part : -part], losses[-part:]
    fall = median(earlier) - median(last)
    clear = fall >= FALL * median(earlier) or max(last) < min(earlier)
    return head.best_epoch >= len(losses) - part and fall >= FALL_NATS and clear
