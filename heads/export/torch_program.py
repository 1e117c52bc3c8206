"""A run as a program of torch.export: one file that torch alone loads and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heads.export.made_export import MadeExport
from heads.export.model_inputs import Batch, ModelInputs
from heads.export.opened_run import OpenedRun, failing_as
from heads.export.tracing import trace

FILE = "model.pt2"

USAGE = """
import torch
from preprocess import batch_of

model = torch.export.load("model.pt2").module()
images = [torch.from_numpy(one) for one in batch_of(["a.jpg", "b.jpg"])]
logits, probabilities = model(*images)
"""


def write_program(run: OpenedRun, inputs: ModelInputs, folder: Path) -> MadeExport:
    """`model.pt2` in `folder`, loaded back."""
    file = folder / FILE
    program = trace(run, inputs)
    with failing_as(run, "torch.export"):
        torch.export.save(program, file)
        model: Any = torch.export.load(file).module()

    def logits(batch: Batch) -> NDArray[np.generic]:
        with torch.inference_mode():
            found: NDArray[np.generic] = model(*map(torch.from_numpy, batch))[0].numpy()
        return found

    return MadeExport(logits, f"torch {torch.__version__}", usage=USAGE)
