"""Images per second of a model's forward passes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from featcache.devices import out_of_memory
from featcache.profiling.latency import noise_images, time_passes

THROUGHPUT_PASSES = 5


def throughput(model: nn.Module, size: int, batch_size: int, device: torch.device) -> tuple[float, int]:
    """Images per second (the median of a few passes after one untimed), and the batch size it was measured at.

    That is `batch_size`, or the largest half, quarter, .. of it that fits the device's memory.
    """
    while True:
        try:
            images = noise_images(batch_size, size, device)
            with torch.inference_mode():
                model(images)
                times = time_passes(images, (model,), THROUGHPUT_PASSES, device)
            return batch_size / (float(np.median(times)) / 1e3), batch_size
        except RuntimeError as error:
            if batch_size == 1 or not out_of_memory(error):
                raise
        batch_size //= 2  # outside the handler, whose traceback holds what did not fit
