"""Random numbers of an epoch follow from (seed, epoch): generators and dropout masks, so that a run can go on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from featcache.extraction import Indices
from heads.training import Draws, scale, threshold


def dropout(draws: Draws, p: float, units: int, batch: int, mine: Indices) -> Tensor | None:
    """What hidden units of a head are multiplied by in the next step, `[units, n]` for the images `mine` of its batch;
    None where nothing is dropped. A step that takes more than `batch` images draws as two steps do."""
    if not units or p == 0:
        return None
    steps = int(mine.max()) // batch + 1
    drawn = np.concatenate(list(draws.dropout(steps, units, batch)), axis=1)[:, mine]
    return torch.from_numpy((drawn >= threshold(p)).astype(np.float32) * scale(p))


@contextmanager
def seeded(seed: int, epoch: int, rank: int, device: torch.device) -> Iterator[None]:
    """Whatever draws random numbers inside draws those of (seed, epoch); the caller's generators stay as they were."""
    words = np.random.SeedSequence([seed, epoch, rank]).generate_state(2, np.uint64)
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(words[0] >> np.uint64(1)))
        random.seed(int(words[1]))
        np.random.seed(int(words[1] & np.uint64(0xFFFFFFFF)))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
