"""A finished run with its networks in memory: what is exported, and what the export must equal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.backbones import Backbone
from featcache.data import normalise
from featcache.errors import FeatcacheError, WorkError
from heads.runs import Run, RunModel, calibration_of, load_run_model

AT_ONCE = 16  # images in a forward pass


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A run's record, its head, its backbones on the CPU, and the temperature that its logits are divided by."""

    record: Run
    model: RunModel
    parts: tuple[Backbone, ...]
    temperature: float  # 1 where the run has none

    @property
    def exact(self) -> bool:
        """Whether it computes in float32 itself."""
        return all(part.info.identity.precision == "float32" for part in self.parts)

    @property
    def features(self) -> int:
        """F, of all parts together."""
        return sum(part.features for part in self.parts)

    def logits(self, pixels: Sequence[Tensor]) -> NDArray[np.float32]:
        """Calibrated logits `[N, C]` as the run itself computes them; `pixels` are of each part, uint8
        `[N, 3, S, S]`."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(pixels[0]), AT_ONCE):
                batches = [
                    part(normalise(images[start : start + AT_ONCE], part.preprocessing))
                    for part, images in zip(self.parts, pixels, strict=True)
                ]
                found.append(self.model.head(torch.cat(batches, dim=1)) / self.temperature)
        return torch.cat(found).numpy()


def open_run(record: Run, *, allow_custom: bool = False) -> OpenedRun:
    """The run with its networks. Raises RunError where it is not whole, WeightsError where the weights are not those
    that its head was trained on."""
    model = load_run_model(record.folder)
    calibration = calibration_of(record.folder, record.summary)
    parts = model.backbones(allow_custom=allow_custom)
    return OpenedRun(record, model, parts, 1.0 if calibration is None else calibration.temperature)


@contextmanager
def failing_as(run: OpenedRun, what: str) -> Iterator[None]:
    """What fails inside is that `what` cannot take this run; what only warns concerns nobody who exports."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FeatcacheError:
        raise
    except Exception as error:  # tracers, converters and runtimes raise whatever they meet
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])
        raise WorkError(
            f"{run.model.options.model.backbone}: {what} cannot take it ({type(error).__name__}: "
            f"{reason if len(reason) < 300 else f'{reason[:300]} ..'}). Another --to may."
        ) from error
