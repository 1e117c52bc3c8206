"""Images in, logits in evaluation mode out, in micro-batches that are halved where memory runs out."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from featcache.devices import out_of_memory
from featcache.errors import WorkError
from featcache.extraction import Indices
from heads.finetune.batch_inputs import Batch, InputSource
from heads.finetune.forward_path import ForwardPath

log = logging.getLogger("featcache")


class MicroBatches:
    """Images at once, at most: fewer from then on where they did not fit."""

    def __init__(self, size: int, backbone: str, device: torch.device, processes: int) -> None:
        self.size = size
        self._backbone, self._device, self._processes = backbone, device, processes

    def halve(self) -> None:
        """Take half as many from here on; raises WorkError where that cannot be."""
        if self._processes > 1:  # the others would wait for what this one takes apart
            raise WorkError(
                f"{self._backbone}: a batch does not fit the memory of one of {self._processes} processes. Choose a "
                "smaller data.batch_size and a larger training.accumulate."
            )
        if self.size == 1:
            raise WorkError(
                f"{self._backbone}: one image does not fit the memory of {self._device}. Choose a smaller "
                "model.input_size, freeze more blocks, or another device."
            )
        self.size = max(1, self.size // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning(
            "%s: out of memory; going on with %d images at a time, whose gradients are accumulated",
            self._backbone,
            self.size,
        )


def evaluate_logits(forward: ForwardPath, source: InputSource, images: Indices, micro_batches: MicroBatches) -> Tensor:
    """Logits `[n, C]` of the plain views of some images, in evaluation mode, on the device."""
    forward.eval()
    while True:
        try:
            return _evaluate_logits(forward, source, images, micro_batches.size)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        micro_batches.halve()  # outside the handler, whose traceback holds what did not fit


@torch.no_grad()
def _evaluate_logits(forward: ForwardPath, source: InputSource, images: Indices, size: int) -> Tensor:
    parts = [images[s : s + size] for s in range(0, len(images), size)]
    found = [forward(x) for x in source.inputs([Batch(p, np.zeros(len(p), np.int64)) for p in parts])]
    return torch.cat(found) if found else torch.empty(0, forward.classes, device=next(forward.parameters()).device)
